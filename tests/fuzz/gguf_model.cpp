// GGUF models: configuration, tensor directory, and the values behind directories that hold.
#include "model/gguf.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace grpo;
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    const GgufModel model = open_gguf(file.path());
    for (const StoredTensor& tensor : model.tensors) decode(tensor);
  });
  return 0;
}
