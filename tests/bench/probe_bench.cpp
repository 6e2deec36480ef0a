// What the machine allows at this moment, for the suite: bytes read from memory a second (the best of 1, 2, 4 and 8
// streams a thread), fp32 multiply-adds and products of bf16 from registers, each with the best instructions that the
// CPU has.
//   probe_bench THREADS
// Any request runs all probes, about two seconds; the line back is {"read_gbs", "fp32_gflops", "fp32_by",
// "bf16_gflops", "bf16_by"}.
#include <cpuid.h>
#include <immintrin.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <grpo/error.h>

#include "tests/bench/serve.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr double kSliceSeconds = 0.06;
constexpr int kSlices = 5;
constexpr std::int64_t kReadBytes = std::int64_t{256} << 20;  // of each thread: far more than any cache keeps of it

// Work a second of all threads together: the median of some short slices, in each of which every thread calls
// work(thread) over and over; a call returns how much it did.
double rate(int threads, const std::function<double(int thread)>& work) {
  std::vector<double> slices;
  for (int slice = 0; slice < kSlices; ++slice) {
    std::atomic<int> waiting{threads};
    std::vector<double> rates(static_cast<std::size_t>(threads));
    std::vector<std::thread> team;
    for (int thread = 0; thread < threads; ++thread)
      team.emplace_back([&, thread] {
        work(thread);
        for (--waiting; waiting > 0;) {
        }
        const auto start = Clock::now();
        double done = 0, seconds = 0;
        do {
          done += work(thread);
          seconds = std::chrono::duration<double>(Clock::now() - start).count();
        } while (seconds < kSliceSeconds);
        rates[static_cast<std::size_t>(thread)] = done / seconds;
      });
    for (std::thread& thread : team) thread.join();
    double sum = 0;
    for (const double one : rates) sum += one;
    slices.push_back(sum);
  }
  std::nth_element(slices.begin(), slices.begin() + kSlices / 2, slices.end());
  return slices[kSlices / 2];
}

// ---- memory ---------------------------------------------------------------------------------------------------------

// Huge pages where the system gives them.
const char* map_memory(std::int64_t bytes) {
  void* memory =
      mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  GRPO_CHECK(memory != MAP_FAILED, "probe: no memory");
  madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  std::memset(memory, 1, static_cast<std::size_t>(bytes));
  return static_cast<const char*>(memory);
}

// One word of all: what keeps the reads from being dropped.
template <class Sums>
std::int64_t fold(const Sums& sums) {
  std::array<std::int64_t, sizeof(Sums) / 8> words;
  std::memcpy(words.data(), &sums, sizeof sums);
  std::int64_t all = 0;
  for (const std::int64_t word : words) all ^= word;
  return all;
}

// Reads every line once, from kStreams places at a time.
template <int kStreams>
[[gnu::target("avx2")]] std::int64_t read_avx2(const char* data, std::int64_t bytes) {
  const std::int64_t stream = bytes / kStreams;
  __m256i sums[2 * kStreams] = {};
  for (std::int64_t at = 0; at < stream; at += 64)
    for (int s = 0; s < 2 * kStreams; ++s) {
      const char* half = data + s / 2 * stream + at + s % 2 * 32;
      sums[s] = _mm256_xor_si256(sums[s], _mm256_load_si256(reinterpret_cast<const __m256i*>(half)));
    }
  return fold(sums);
}

template <int kStreams>
[[gnu::target("avx512f")]] std::int64_t read_avx512(const char* data, std::int64_t bytes) {
  const std::int64_t stream = bytes / kStreams;
  __m512i sums[kStreams] = {};
  for (std::int64_t at = 0; at < stream; at += 64)
    for (int s = 0; s < kStreams; ++s) sums[s] = _mm512_xor_si512(sums[s], _mm512_load_si512(data + s * stream + at));
  return fold(sums);
}

double read_gbs(int threads) {
  static const char* const memory = map_memory(threads * kReadBytes);
  using Read = std::int64_t (*)(const char*, std::int64_t);
  const bool wide = __builtin_cpu_supports("avx512f");
  double best = 0;
  for (const Read read : {wide ? read_avx512<1> : read_avx2<1>, wide ? read_avx512<2> : read_avx2<2>,
                          wide ? read_avx512<4> : read_avx2<4>, wide ? read_avx512<8> : read_avx2<8>}) {
    std::atomic<std::int64_t> sink{0};
    best = std::max(best, rate(threads, [&](int thread) {
                      sink ^= read(memory + thread * kReadBytes, kReadBytes);
                      return static_cast<double>(kReadBytes);
                    }));
  }
  return best * 1e-9;
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------

constexpr int kRounds = 20000;
constexpr int kSums = 12;  // independent ones: they cover the latency of two units and leave registers for the operands

// Each returns its floating-point operations; `sink` keeps the work from being dropped.
[[gnu::target("avx2,fma")]] double fma_avx2(float* sink) {
  const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
  __m256 sums[kSums];  // each its own value, or one would do for all
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int round = 0; round < kRounds; ++round)
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, a, b);
  for (const __m256& sum : sums) *sink += _mm256_cvtss_f32(sum);
  return 2.0 * 8 * kSums * kRounds;
}

[[gnu::target("avx512f")]] double fma_avx512(float* sink) {
  const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int round = 0; round < kRounds; ++round)
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, a, b);
  for (const __m512& sum : sums) *sink += _mm512_cvtss_f32(sum);
  return 2.0 * 16 * kSums * kRounds;
}

[[gnu::target("avx512f,avx512bf16")]] double dot_avx512_bf16(float* sink) {
  const __m512 ones = _mm512_castsi512_ps(_mm512_set1_epi16(0x3f80));
  __m512bh a, b;
  std::memcpy(&a, &ones, sizeof a);
  std::memcpy(&b, &ones, sizeof b);
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int round = 0; round < kRounds; ++round)
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, a, b);
  for (const __m512& sum : sums) *sink += _mm512_cvtss_f32(sum);
  return 2.0 * 32 * kSums * kRounds;
}

// Four sums from two tiles on either side, as a product of matrices would have them. Tiles are 16 rows of 64 bytes.
[[gnu::target("amx-tile,amx-bf16")]] double dot_amx_bf16(float* sink) {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  alignas(64) float tile[16 * 16] = {};
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, tile, 64);
  _tile_loadd(5, tile, 64);
  _tile_loadd(6, tile, 64);
  _tile_loadd(7, tile, 64);
  for (int round = 0; round < kRounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, tile, 64);
  _tile_release();
  *sink += tile[0];
  return 4.0 * 2 * 16 * 16 * 32 * kRounds;
}

// The CPU has the instructions, and the kernel lets this process use the registers.
bool has_amx_bf16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  constexpr unsigned kTile = 1u << 24, kBf16 = 1u << 22;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return (edx & kTile) && (edx & kBf16) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

struct Arithmetic {
  const char* name;
  double (*work)(float* sink);
};
Arithmetic best_fp32() {
  if (__builtin_cpu_supports("avx512f")) return {"avx512", fma_avx512};
  GRPO_CHECK(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), "probe: this CPU has no AVX2");
  return {"avx2", fma_avx2};
}
Arithmetic best_bf16() {
  if (has_amx_bf16()) return {"amx_bf16", dot_amx_bf16};
  if (__builtin_cpu_supports("avx512bf16")) return {"avx512_bf16", dot_avx512_bf16};
  return best_fp32();
}

double gflops(int threads, const Arithmetic& arithmetic) {
  std::vector<std::vector<float>> sinks(static_cast<std::size_t>(threads), std::vector<float>(16));
  return 1e-9 *
         rate(threads, [&](int thread) { return arithmetic.work(sinks[static_cast<std::size_t>(thread)].data()); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: probe_bench THREADS\n", stderr);
    return 2;
  }
  const int threads = std::max(1, std::atoi(argv[1]));
  return bench::run([&] {
    const Arithmetic fp32 = best_fp32(), bf16 = best_bf16();
    bench::serve([&](const grpo::Json&) {
      return grpo::Json::Object{{"read_gbs", read_gbs(threads)},
                                {"fp32_gflops", gflops(threads, fp32)},
                                {"fp32_by", fp32.name},
                                {"bf16_gflops", gflops(threads, bf16)},
                                {"bf16_by", bf16.name}};
    });
  });
}
