# What `cmake --install` puts where: the programs, headers, libraries, and what find_package and pkg-config read.
include(CMakePackageConfigHelpers)

set(libraries grpo)
if(GRPO_SHARED)
  list(APPEND libraries grpo_shared)
endif()
install(TARGETS ${libraries} EXPORT grpoTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
# The worker beside the program, which looks for it there.
install(TARGETS grpo_cli grpo_reward_worker RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
if(TARGET grpo_mpi)
  install(TARGETS grpo_mpi LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/grpo")
configure_package_config_file(src/cmake/grpoConfig.cmake.in grpoConfig.cmake INSTALL_DESTINATION "${package}")
write_basic_package_version_file(grpoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT grpoTargets NAMESPACE grpo:: DESTINATION "${package}")
install(FILES "${PROJECT_BINARY_DIR}/grpoConfig.cmake" "${PROJECT_BINARY_DIR}/grpoConfigVersion.cmake" src/cmake/FindLibTorch.cmake
        DESTINATION "${package}")

# pkg-config: `grpo` is the static library with what it needs, `grpo-shared` the shared one.
function(grpo_pkg_config name link requires)
  file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(torch_libs "")
  foreach(library IN LISTS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_GOMP_LIBRARY)
    get_filename_component(file "${library}" NAME)
    string(APPEND torch_libs " -l:${file}")
  endforeach()
  configure_file(src/cmake/grpo.pc.in ${name}.pc @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${name}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endfunction()
grpo_pkg_config(grpo "-l:libgrpo.a ${CMAKE_THREAD_LIBS_INIT} -l${CMAKE_DL_LIBS}" "yaml-cpp libpcre2-8 libutf8proc")
if(GRPO_SHARED)
  grpo_pkg_config(grpo-shared "-Wl,-rpath,\${libdir} -lgrpo" "")
endif()
