#include "kernels/attention.h"

#include "kernels/attention_forward.h"

namespace grpo::kernels {
namespace {

constexpr std::int64_t kProductsPerThread = 65536;  // multiply-adds that are worth a thread, times 2

// Copies rows of one kv head, [rows] at `stride`, to a block from position `first` on. T only says the size.
template <class T>
void write_rows(const AttentionShape& shape, const T* k, const T* v, std::int64_t stride, std::int64_t rows,
                std::int64_t kv_head, std::int64_t block, std::int64_t first, T* store) {
  const std::int64_t head = shape.head;
  T* keys = store + block * shape.block_elements() + kv_head * 2 * kBlock * head;
  T* values = keys + kBlock * head;
  for (std::int64_t r = 0; r < rows; ++r, k += stride, v += stride) {
    const std::int64_t j = first + r;
    T* key = keys + j / kHalfBlock * kHalfBlock * head + j % kHalfBlock;
    for (std::int64_t d = 0; d < head; ++d) key[kHalfBlock * d] = k[d];
    for (std::int64_t d = 0; d < head; d += kPanel) std::copy_n(v + d, kPanel, values + kBlock * d + kPanel * j);
  }
}

template <class T>
void write_tile(const AttentionShape& shape, const T* k, const T* v, const AttentionTile& tile, std::int64_t block,
                T* store) {
  const std::int64_t stride = shape.kv_heads * shape.head;
  for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
    const std::int64_t from = tile.row * stride + h * shape.head;
    write_rows(shape, k + from, v + from, stride, tile.rows, h, block, tile.position % kBlock, store);
  }
}

template <class T>
void copy_positions(const AttentionShape& shape, T* store, std::int32_t from, std::int32_t to, std::int64_t count) {
  const T* source = store + from * shape.block_elements();
  T* target = store + to * shape.block_elements();
  const std::int64_t half = kHalfBlock, keys = kBlock * shape.head;
  for (std::int64_t h = 0; h < shape.kv_heads; ++h, source += 2 * keys, target += 2 * keys) {
    for (std::int64_t line = 0; line < 2 * shape.head; ++line) {  // a line holds 16 positions of one element
      const std::int64_t n = std::clamp<std::int64_t>(count - line / shape.head * half, 0, half);
      std::copy_n(source + line * half, n, target + line * half);
    }
    for (std::int64_t panel = 0; panel < shape.head / kPanel; ++panel) {
      const std::int64_t at = keys + panel * kBlock * kPanel;
      std::copy_n(source + at, count * kPanel, target + at);
    }
  }
}

// Blocks that two sequences have in common from the first on, of the first `most`.
std::int64_t common_blocks(const AttentionSequence& a, const AttentionSequence& b, std::int64_t most) {
  std::int64_t common = 0;
  while (common < most && a.blocks[common] == b.blocks[common]) ++common;
  return common;
}

}  // namespace

void write_kv(const AttentionShape& shape, const void* k, const void* v, const AttentionSequence* sequences,
              std::int64_t num_sequences, void* store, const Team& team) {
  std::vector<AttentionTile> tiles;
  for (std::int64_t s = 0; s < num_sequences; ++s)
    append_tiles(sequences[s], static_cast<std::int32_t>(s), kBlock, tiles);
  team.split(static_cast<std::int64_t>(tiles.size()), 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int32_t block = sequences[tiles[i].sequence].blocks[tiles[i].block()];
      if (shape.type == Type::F32) {
        write_tile(shape, static_cast<const float*>(k), static_cast<const float*>(v), tiles[i], block,
                   static_cast<float*>(store));
      } else {
        write_tile(shape, static_cast<const bf16*>(k), static_cast<const bf16*>(v), tiles[i], block,
                   static_cast<bf16*>(store));
      }
    }
  });
}

void write_kv_head(const AttentionShape& shape, const void* k, const void* v, std::int64_t kv_head, std::int64_t block,
                   std::int64_t place, void* store) {
  if (shape.type == Type::F32) {
    write_rows(shape, static_cast<const float*>(k), static_cast<const float*>(v), 0, 1, kv_head, block, place,
               static_cast<float*>(store));
  } else {
    write_rows(shape, static_cast<const bf16*>(k), static_cast<const bf16*>(v), 0, 1, kv_head, block, place,
               static_cast<bf16*>(store));
  }
}

void copy_block(const AttentionShape& shape, void* store, std::int32_t from, std::int32_t to, std::int64_t count) {
  if (shape.type == Type::F32) return copy_positions(shape, static_cast<float*>(store), from, to, count);
  copy_positions(shape, static_cast<bf16*>(store), from, to, count);
}

AttentionPlan plan_attention(const AttentionShape& shape, const AttentionSequence* sequences,
                             std::int64_t num_sequences, int threads) {
  AttentionPlan plan;
  plan.kv_heads = shape.kv_heads;
  for (std::int64_t s = 0; s < num_sequences; ++s) {
    append_tiles(sequences[s], static_cast<std::int32_t>(s), tile_rows(shape), plan.tiles);
  }
  const auto num_tiles = static_cast<std::int64_t>(plan.tiles.size());
  // Two units for each thread, if there are tiles for it.
  const std::int64_t bundles = (2 * threads + shape.kv_heads - 1) / shape.kv_heads;
  const std::int64_t most_tiles = std::max<std::int64_t>(1, (num_tiles + bundles - 1) / bundles);
  std::int64_t rows = 0;
  for (std::int64_t i = 0; i < num_tiles; ++i) {
    const AttentionTile& tile = plan.tiles[i];
    plan.products += tile.rows * (tile.position + tile.rows) * shape.query_heads * shape.head;
    if (i > 0 && tile.sequence == plan.tiles[i - 1].sequence) plan.tile_each = false;
    const bool fits = i > 0 && plan.bundles.back().count < most_tiles && rows + tile.rows <= tile_rows(shape);
    if (fits) {
      AttentionBundle& bundle = plan.bundles.back();
      const AttentionTile& first = plan.tiles[bundle.first];
      const std::int64_t shared =
          common_blocks(sequences[first.sequence], sequences[tile.sequence], std::min(bundle.shared, tile.block()));
      if (shared > 0) {
        bundle.shared = shared;
        ++bundle.count;
        rows += tile.rows;
        continue;
      }
    }
    plan.bundles.push_back({i, 1, tile.block()});
    rows = tile.rows;
  }
  return plan;
}

void attention(const AttentionShape& shape, const void* q, const void* store, const AttentionSequence* sequences,
               std::int64_t num_sequences, void* out, float* lse, Isa isa, const Team& team) {
  const AttentionCall call{shape, q, store, sequences, out, lse, panel_kernels(isa), &vector_kernels(isa)};
  const AttentionPlan plan = plan_attention(shape, sequences, num_sequences, team.size);
  share_units(team, plan.num_units(), 1 + plan.products / kProductsPerThread, [&](const auto& next) {
    AttentionWorker worker(call);
    for (std::int64_t unit = next(); unit >= 0; unit = next()) worker.run(plan, unit);
  });
}

}  // namespace grpo::kernels
