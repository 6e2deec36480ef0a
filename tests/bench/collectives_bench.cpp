// Our reductions beside MPI's own, in turns in the same run: GB/s of a rank's data, the median of the repeats.
//
//   cmake -S . -B build -DGRPO_BENCH=ON && ninja -C build collectives_bench
//   GRPO_MPI_LIBRARY=build/libgrpo_mpi.so mpirun --bind-to none -n 2 build/tests/collectives_bench [REPEATS]
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <vector>

#include <grpo/dist.h>

namespace {

double seconds_of(const std::function<void()>& call) {
  MPI_Barrier(MPI_COMM_WORLD);
  const auto start = std::chrono::steady_clock::now();
  call();
  MPI_Barrier(MPI_COMM_WORLD);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::atoi(argv[1]) : 11;
  grpo::Communicator ranks = grpo::Communicator::from_environment();
  if (ranks.size() < 2) {
    fmt::print(stderr, "collectives_bench: expected to be started by mpirun with two ranks or more\n");
    return 2;
  }
  if (ranks.rank() == 0)
    fmt::print("{:>10} {:>16} {:>10} {:>10} {:>8}\n", "bytes", "operation", "ours GB/s", "MPI GB/s", "ratio");
  for (const std::size_t bytes :
       {std::size_t{8}, std::size_t{64} << 10, std::size_t{1} << 20, std::size_t{16} << 20, std::size_t{256} << 20}) {
    const std::size_t count = std::max<std::size_t>(bytes / sizeof(float), 2);
    std::vector<float> values(count, 1.0f), piece(count);
    std::vector<std::size_t> counts(static_cast<std::size_t>(ranks.size()),
                                    count / static_cast<std::size_t>(ranks.size()));
    counts.back() += count - counts[0] * counts.size();
    const std::vector<int> int_counts(counts.begin(), counts.end());
    piece.resize(counts[static_cast<std::size_t>(ranks.rank())]);
    const auto compare = [&](const char* name, const std::function<void()>& ours, const std::function<void()>& mpi) {
      std::vector<double> ours_s, mpi_s;
      for (int i = 0; i < repeats + 1; ++i) {
        std::fill(values.begin(), values.end(), 1.0f);
        const double a = seconds_of(ours);
        std::fill(values.begin(), values.end(), 1.0f);
        const double b = seconds_of(mpi);
        if (i == 0) continue;  // memory and connections are new
        ours_s.push_back(a);
        mpi_s.push_back(b);
      }
      const double gb = static_cast<double>(bytes) / 1e9, a = median(ours_s), b = median(mpi_s);
      if (ranks.rank() == 0)
        fmt::print("{:>10} {:>16} {:>10.3f} {:>10.3f} {:>8.2f}\n", bytes, name, gb / a, gb / b, b / a);
    };
    compare(
        "all_reduce", [&] { ranks.all_reduce(values); },
        [&] {
          MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        });
    compare(
        "reduce_scatter", [&] { ranks.reduce_scatter(values, counts, piece); },
        [&] {
          MPI_Reduce_scatter(values.data(), piece.data(), int_counts.data(), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        });
  }
  return 0;
}
