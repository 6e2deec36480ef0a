#include "kernels/layers.h"

#include <algorithm>
#include <vector>

#include "kernels/vector.h"

namespace grpo::kernels {
namespace {

constexpr std::int64_t kGrain = 16384;  // elements that are worth a thread

std::int64_t row_grain(std::int64_t width) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, width));
}

template <class T>
T narrow(float x);
template <>
float narrow<float>(float x) {
  return x;
}
template <>
bf16 narrow<bf16>(float x) {
  return to_bf16(x);
}

const VectorTypeKernels& typed(Type type, Isa isa) {
  const VectorKernels& kernels = vector_kernels(isa);
  return type == Type::F32 ? kernels.f32 : kernels.bf16;
}

template <class T>
struct Of {};

// f(Of<element type>)
template <class F>
void with_type(Type type, const F& f) {
  if (type == Type::F32) return f(Of<float>{});
  f(Of<bf16>{});
}

template <class T>
T* at(void* p, std::int64_t index) {
  return static_cast<T*>(p) + index;
}
template <class T>
const T* at(const void* p, std::int64_t index) {
  return static_cast<const T*>(p) + index;
}

std::int64_t element_bytes(Type type) { return type == Type::F32 ? 4 : 2; }
const void* skip(Type type, const void* p, std::int64_t n) {
  return static_cast<const char*>(p) + n * element_bytes(type);
}
void* skip(Type type, void* p, std::int64_t n) { return static_cast<char*>(p) + n * element_bytes(type); }

// Where the elements of a packed row are.
struct PackedRow {
  Type order;
  std::int64_t start;
  std::int64_t at(std::int64_t k) const { return start + (order == Type::F32 ? kPanel * k : pair_offset(k)); }
};

PackedRow packed_row(Type order, std::int64_t width, std::int64_t n) {
  return {order, packed_index(order, width, n, 0) - (order == Type::F32 ? 0 : pair_offset(0))};
}

// The weight as the computation sees it.
std::vector<float> weight_as(Type type, const float* weight, std::int64_t width) {
  std::vector<float> used(weight, weight + width);
  if (type == Type::BF16) {
    for (float& w : used) w = to_float(to_bf16(w));
  }
  return used;
}

// dx = inv (w dy - x inv^2 mean(w dy x)); the mean in 16 lanes added pairwise.
template <class T>
void rms_norm_grad_row(const T* x, const float* weight, float inv, const T* dy, std::int64_t width, T* dx) {
  float lanes[16] = {};
  std::int64_t k = 0;
  for (; k + 16 <= width; k += 16) {
    for (int i = 0; i < 16; ++i) lanes[i] += weight[k + i] * to_float(dy[k + i]) * to_float(x[k + i]);
  }
  for (int i = 0; k + i < width; ++i) lanes[i] += weight[k + i] * to_float(dy[k + i]) * to_float(x[k + i]);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  const float pull = lanes[0] / static_cast<float>(width) * inv * inv;
  for (k = 0; k < width; ++k) dx[k] = narrow<T>(inv * (weight[k] * to_float(dy[k]) - to_float(x[k]) * pull));
}

}  // namespace

void embedding(Type type, const void* packed, std::int64_t width, const std::int32_t* ids, std::int64_t rows, void* out,
               const Team& team) {
  with_type(type, [&]<class T>(Of<T>) {
    team.split(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const PackedRow row = packed_row(type, width, ids[t]);
        T* y = at<T>(out, t * width);
        for (std::int64_t k = 0; k < width; ++k) y[k] = *at<T>(packed, row.at(k));
      }
    });
  });
}

void embedding_grad(Type type, const void* dy, std::int64_t width, const std::int32_t* ids, std::int64_t rows,
                    float* grad, const Team& team) {
  if (rows == 0) return;
  with_type(type, [&]<class T>(Of<T>) {
    // Threads own pairs of columns, so every entry adds its rows in order.
    team.split((width + 1) / 2, std::max<std::int64_t>(1, kGrain / rows / 2),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t t = 0; t < rows; ++t) {
                   const PackedRow row = packed_row(type, width, ids[t]);
                   const T* d = at<T>(dy, t * width);
                   for (std::int64_t k = 2 * begin; k < std::min(width, 2 * end); ++k)
                     grad[row.at(k)] += to_float(d[k]);
                 }
               });
  });
}

void rms_norm(Type type, const void* x, const float* weight, float eps, std::int64_t rows, std::int64_t width, void* y,
              float* inv_rms, Isa isa, const Team& team) {
  const std::vector<float> used = weight_as(type, weight, width);
  team.split(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    typed(type, isa).rms_norm(skip(type, x, begin * width), used.data(), eps, end - begin, width,
                              skip(type, y, begin * width), inv_rms != nullptr ? inv_rms + begin : nullptr);
  });
}

void rms_norm_grad(Type type, const void* x, const float* weight, const float* inv_rms, const void* dy,
                   std::int64_t rows, std::int64_t width, void* dx, float* weight_grad, const Team& team) {
  if (rows == 0) return;
  const std::vector<float> used = weight_as(type, weight, width);
  with_type(type, [&]<class T>(Of<T>) {
    // The weight's gradient first: dx may overwrite dy or x. Threads own columns, so every entry adds its rows in
    // order.
    team.split(width, std::max<std::int64_t>(16, kGrain / rows), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = 0; r < rows; ++r) {
        const T* x_row = at<T>(x, r * width);
        const T* dy_row = at<T>(dy, r * width);
        for (std::int64_t k = begin; k < end; ++k)
          weight_grad[k] += to_float(dy_row[k]) * (to_float(x_row[k]) * inv_rms[r]);
      }
    });
    team.split(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        rms_norm_grad_row(at<T>(x, r * width), used.data(), inv_rms[r], at<T>(dy, r * width), width,
                          at<T>(dx, r * width));
      }
    });
  });
}

void split_turns(const float* row, float sign, std::int64_t head, float* turns) {
  for (std::int64_t d = 0; d < head / 2; ++d) {
    turns[d] = row[2 * d];
    turns[head / 2 + d] = sign * row[2 * d + 1];
  }
}

void rope(Type type, const void* x, const std::int32_t* positions, const float* table, std::int64_t rows,
          std::int64_t heads, std::int64_t head, bool inverse, void* y, Isa isa, const Team& team) {
  const std::int64_t width = heads * head;
  team.split(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> turns(static_cast<std::size_t>(head));
    for (std::int64_t t = begin; t < end; ++t) {
      split_turns(table + positions[t] * head, inverse ? -1.0f : 1.0f, head, turns.data());
      typed(type, isa).rope(skip(type, x, t * width), turns.data(), heads, head, skip(type, y, t * width));
    }
  });
}

void swiglu(Type type, const void* gate, const void* up, std::int64_t n, void* y, Isa isa, const Team& team) {
  team.split(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    typed(type, isa).swiglu(skip(type, gate, begin), skip(type, up, begin), end - begin, skip(type, y, begin));
  });
}

void swiglu_grad(Type type, const void* gate, const void* up, const void* dy, std::int64_t n, void* dgate, void* dup,
                 Isa isa, const Team& team) {
  team.split(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    typed(type, isa).swiglu_grad(skip(type, gate, begin), skip(type, up, begin), skip(type, dy, begin), end - begin,
                                 skip(type, dgate, begin), skip(type, dup, begin));
  });
}

void add(Type type, const void* a, const void* b, std::int64_t n, void* y, Isa isa, const Team& team) {
  team.split(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    typed(type, isa).add(skip(type, a, begin), skip(type, b, begin), end - begin, skip(type, y, begin));
  });
}

}  // namespace grpo::kernels
