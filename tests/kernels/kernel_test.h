// What the kernel tests share: thread teams, instruction sets, buffers of either type, reproducible numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "kernels/linear.h"
#include "kernels/threads.h"
#include "kernels/types.h"

namespace grpo::kernels {

// Every task in a thread of its own.
inline Team thread_team(int size) {
  return {size,
          [](int num_tasks, void (*task)(void*, int), void* arg) {
            std::vector<std::thread> threads;
            for (int i = 0; i < num_tasks; ++i) threads.emplace_back(task, arg, i);
            for (std::thread& thread : threads) thread.join();
          },
          [](int count, void (*body)(void*, int, int), void* arg) {
            std::vector<std::thread> threads;
            for (int i = 0; i < count; ++i) threads.emplace_back(body, arg, i, count);
            for (std::thread& thread : threads) thread.join();
          }};
}

inline std::vector<Isa> isas_here() {
  std::vector<Isa> found;
  for (const Isa isa : kIsas) {
    if (isa_runs(isa)) found.push_back(isa);
  }
  return found;
}

constexpr double kUnit = 0x1p-24;      // half an ulp of fp32, relative
constexpr double kUnitBf16 = 0x1p-8;   // of bf16
constexpr double kExpError = 0x1p-22;  // exp: 2 ulp, relative
inline double unit(Type type) { return type == Type::F32 ? kUnit : kUnitBf16; }

// n numbers in the storage of `type`; a fresh buffer is NaN.
class Buffer {
 public:
  Buffer(Type type, std::int64_t n)
      : type_(type), floats_(type == Type::F32 ? n : 0), halves_(type == Type::F32 ? 0 : n) {
    fill(std::numeric_limits<float>::quiet_NaN());
  }
  Type type() const { return type_; }
  std::int64_t size() const { return static_cast<std::int64_t>(type_ == Type::F32 ? floats_.size() : halves_.size()); }
  void* data() { return type_ == Type::F32 ? static_cast<void*>(floats_.data()) : halves_.data(); }
  const void* data() const { return const_cast<Buffer*>(this)->data(); }
  double operator[](std::int64_t i) const { return type_ == Type::F32 ? floats_[i] : to_float(halves_[i]); }
  void set(std::int64_t i, double x) {
    if (type_ == Type::F32) {
      floats_[i] = static_cast<float>(x);
    } else {
      halves_[i] = to_bf16(static_cast<float>(x));
    }
  }
  void fill(double x) {
    for (std::int64_t i = 0; i < size(); ++i) set(i, x);
  }
  std::int64_t element_bytes() const { return type_ == Type::F32 ? 4 : 2; }
  const void* at(std::int64_t i) const { return static_cast<const char*>(data()) + i * element_bytes(); }
  // Bit for bit.
  bool same(std::int64_t begin, const Buffer& other, std::int64_t other_begin, std::int64_t n) const {
    return std::memcmp(at(begin), other.at(other_begin), n * element_bytes()) == 0;
  }
  bool operator==(const Buffer& other) const { return size() == other.size() && same(0, other, 0, size()); }

 private:
  Type type_;
  std::vector<float> floats_;
  std::vector<bf16> halves_;
};

class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : engine_(seed) {}
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  double normal() {  // Box and Muller
    return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(2 * std::acos(-1.0) * uniform());
  }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(uniform() * static_cast<double>(n)); }
  Buffer normals(Type type, std::int64_t n, double scale = 1) {
    Buffer buffer(type, n);
    for (std::int64_t i = 0; i < n; ++i) buffer.set(i, scale * normal());
    return buffer;
  }
  std::vector<float> normal_floats(std::int64_t n, double scale = 1) {
    std::vector<float> x(n);
    for (float& v : x) v = static_cast<float>(scale * normal());
    return x;
  }

 private:
  std::mt19937_64 engine_;
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace grpo::kernels
