# Finds LibTorch in an unpacked PyPI wheel or any installed torch, without TorchConfig's side effects (it insists on a
# CUDA toolkit and rewrites CMAKE_CUDA_ARCHITECTURES).
#
# In:  GRPO_TORCH (cache or environment): a folder that holds include/ and lib/ (a torch package or a LibTorch zip).
#      Without it, .deps/torch/torch, which src/cmake/setup.sh unpacks.
# Out: target LibTorch::cpu; LibTorch_ROOT, LibTorch_VERSION.
set(_tested 2.11)
if(NOT GRPO_TORCH AND DEFINED ENV{GRPO_TORCH})
  set(GRPO_TORCH "$ENV{GRPO_TORCH}")
endif()
set(GRPO_TORCH "${GRPO_TORCH}" CACHE PATH "Folder of an installed torch or LibTorch (empty: .deps/torch/torch)")
option(GRPO_TORCH_ANY_VERSION "Accept a LibTorch other than the tested ${_tested}" OFF)

if(GRPO_TORCH)
  set(LibTorch_ROOT "${GRPO_TORCH}")
else()
  set(LibTorch_ROOT "${CMAKE_CURRENT_LIST_DIR}/../../.deps/torch/torch")
  if(LibTorch_BUILT_WITH)  # an installed grpo: the folder that it was built with
    set(LibTorch_ROOT "${LibTorch_BUILT_WITH}")
  endif()
endif()
get_filename_component(LibTorch_ROOT "${LibTorch_ROOT}" ABSOLUTE)

find_library(LibTorch_CPU_LIBRARY torch_cpu PATHS "${LibTorch_ROOT}/lib" NO_DEFAULT_PATH NO_CACHE)
find_library(LibTorch_C10_LIBRARY c10 PATHS "${LibTorch_ROOT}/lib" NO_DEFAULT_PATH NO_CACHE)
file(GLOB LibTorch_GOMP_LIBRARY "${LibTorch_ROOT}/lib/libgomp*.so*")
if(EXISTS "${LibTorch_ROOT}/include/torch/headeronly/version.h")
  file(STRINGS "${LibTorch_ROOT}/include/torch/headeronly/version.h" _lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
elseif(EXISTS "${LibTorch_ROOT}/include/torch/csrc/api/include/torch/version.h")
  file(STRINGS "${LibTorch_ROOT}/include/torch/csrc/api/include/torch/version.h" _lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
endif()
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" LibTorch_VERSION "${_lines}")

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_VERSION
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run src/cmake/setup.sh, or set GRPO_TORCH to a torch ${_tested} folder")

if(LibTorch_FOUND AND NOT LibTorch_VERSION MATCHES "^${_tested}\\.")
  if(NOT GRPO_TORCH_ANY_VERSION)
    message(FATAL_ERROR "LibTorch ${LibTorch_VERSION} at ${LibTorch_ROOT}: ${_tested} is the tested version; "
                        "pass -DGRPO_TORCH_ANY_VERSION=ON to try this one")
  endif()
  message(WARNING "LibTorch ${LibTorch_VERSION} is not the tested ${_tested}")
endif()

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  add_library(LibTorch::cpu INTERFACE IMPORTED)
  # LibTorch's own OpenMP, by full path: a second libgomp would bring a second thread pool.
  set_target_properties(LibTorch::cpu PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_ROOT}/include;${LibTorch_ROOT}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES "${LibTorch_CPU_LIBRARY};${LibTorch_C10_LIBRARY};${LibTorch_GOMP_LIBRARY}"
    INTERFACE_LINK_OPTIONS "LINKER:--disable-new-dtags,-rpath,${LibTorch_ROOT}/lib;LINKER:--no-as-needed")
endif()
unset(_tested)
unset(_lines)
