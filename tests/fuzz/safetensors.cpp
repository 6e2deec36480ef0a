// safetensors headers, and the values behind those that hold.
#include "model/safetensors.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace grpo;
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    Json metadata;
    for (const StoredTensor& tensor : open_safetensors(file.path(), &metadata)) {
      if (is_floating(tensor.type)) decode(tensor);
    }
  });
  return 0;
}
