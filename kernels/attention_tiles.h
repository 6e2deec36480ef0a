// How attention's work is cut: tiles of rows inside one block of positions, handed to threads one unit at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "kernels/vector.h"

namespace grpo::kernels {

inline constexpr std::int64_t kHalfBlock = kBlock / 2;  // positions of one key panel

// Rows [row, row + rows) of one sequence, at positions [position, position + rows) of one block.
struct AttentionTile {
  std::int32_t sequence;
  std::int64_t row, rows, position;
  std::int64_t block() const { return position / kBlock; }
};

inline void append_tiles(const AttentionSequence& sequence, std::int32_t index, std::int64_t max_rows,
                         std::vector<AttentionTile>& tiles) {
  std::int64_t position = sequence.start;
  for (std::int64_t row = sequence.row_begin; row < sequence.row_end;) {
    const std::int64_t rows = std::min({sequence.row_end - row, kBlock - position % kBlock, max_rows});
    tiles.push_back({index, row, rows, position});
    row += rows;
    position += rows;
  }
}

// Query heads per kv head, and rows of a tile such that the tile's queries stay in the cache near the core.
inline std::int64_t group_size(const AttentionShape& shape) { return shape.query_heads / shape.kv_heads; }
inline std::int64_t tile_rows(const AttentionShape& shape) {
  return std::clamp<std::int64_t>(128 / group_size(shape), 1, kBlock);
}

inline const VectorTypeKernels& typed(const VectorKernels& kernels, Type type) {
  return type == Type::F32 ? kernels.f32 : kernels.bf16;
}
inline const void* element(Type type, const void* p, std::int64_t index) {
  return static_cast<const char*>(p) + index * (type == Type::F32 ? 4 : 2);
}
inline void* element(Type type, void* p, std::int64_t index) {
  return static_cast<char*>(p) + index * (type == Type::F32 ? 4 : 2);
}

// Asks for elements [first, first + count) ahead of their turn.
inline void fetch(Type type, const void* p, std::int64_t first, std::int64_t count) {
  const auto* end = static_cast<const char*>(element(type, p, first + count));
  for (const auto* at = static_cast<const char*>(element(type, p, first)); at < end; at += 64)
    __builtin_prefetch(at, 0, 2);
}

inline std::unique_ptr<float[]> float_scratch(std::int64_t n) {
  return std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(n));
}

}  // namespace grpo::kernels
