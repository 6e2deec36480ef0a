#include "dist/rank_status.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <ctime>
#include <string_view>

#include "base/log.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Safe in a signal handler, as std::chrono's clocks need not be.
std::int64_t now_s() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

// A line in parts, with the seconds since `since` between them. A handler writes one slot while the other is filled.
struct Line {
  std::array<char, 512> before{};
  std::array<char, 256> after{};
  std::int64_t since = 0;
};
Line lines[2];
std::atomic<int> current_line{-1};
static_assert(std::atomic<int>::is_always_lock_free);

template <std::size_t N>
void fill(std::array<char, N>& to, std::string_view text) {
  const std::size_t length = std::min(text.size(), N - 1);
  text.copy(to.data(), length);
  to[length] = '\0';
}

void write_all(int fd, const char* text, std::size_t length) noexcept {
  while (length > 0) {
    const ssize_t written = ::write(fd, text, length);
    if (written <= 0) return;
    text += written;
    length -= static_cast<std::size_t>(written);
  }
}

}  // namespace

RankStatus::RankStatus(int rank, int size)
    : rank_("rank " + std::to_string(rank) + " of " + std::to_string(size)), since_(now_s()) {}

void RankStatus::publish() {
  published_ = true;
  update();
}

void RankStatus::set_place(const std::string& place) {
  place_ = printable(place);
  update();
}

void RankStatus::enter(const std::string& operation) {
  operation_ = operation;
  inside_ = true;
  since_ = now_s();
  update();
}

void RankStatus::leave() {
  finished_ = operation_;
  inside_ = false;
  since_ = now_s();
  update();
}

namespace {

std::string before_seconds(const std::string& rank, const std::string& place, bool inside,
                           const std::string& operation) {
  return rank + (place.empty() ? "" : ", " + place) + ": " + (inside ? "in " + operation : "outside collectives") +
         " for ";
}
std::string after_seconds(const std::string& finished) { return " s; last finished: " + finished; }

}  // namespace

std::string RankStatus::text() const {
  return before_seconds(rank_, place_, inside_, operation_) + std::to_string(now_s() - since_) +
         after_seconds(finished_);
}

void RankStatus::update() {
  if (!published_) return;
  const int next = current_line.load(std::memory_order_relaxed) == 0 ? 1 : 0;
  fill(lines[next].before, before_seconds(rank_, place_, inside_, operation_));
  fill(lines[next].after, after_seconds(finished_));
  lines[next].since = since_;
  current_line.store(next, std::memory_order_release);
}

void write_rank_status(int fd) noexcept {
  const int current = current_line.load(std::memory_order_acquire);
  if (current < 0) return;
  const Line& line = lines[current];
  std::array<char, 24> digits{};
  std::size_t first = digits.size();
  for (std::int64_t seconds = std::max<std::int64_t>(now_s() - line.since, 0); first > 0; seconds /= 10) {
    digits[--first] = static_cast<char>('0' + seconds % 10);
    if (seconds < 10) break;
  }
  // One write, so that the lines of several ranks do not mix.
  std::array<char, 1024> text{};
  std::size_t length = 0;
  const auto add = [&](const char* part, std::size_t size) {
    size = std::min(size, text.size() - length);
    std::memcpy(text.data() + length, part, size);
    length += size;
  };
  add(line.before.data(), std::strlen(line.before.data()));
  add(digits.data() + first, digits.size() - first);
  add(line.after.data(), std::strlen(line.after.data()));
  add("\n", 1);
  write_all(fd, text.data(), length);
  // mpirun drops what it has not read when the process is gone.
  const timespec patience{.tv_sec = 0, .tv_nsec = 200'000'000};
  nanosleep(&patience, nullptr);
}

}  // namespace grpo::inline GRPO_ABI
