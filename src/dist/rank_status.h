// What a rank is doing, in one line: for the log when a deadline expires, and for a signal handler at any time.
#pragma once

#include <cstdint>
#include <string>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {

class RankStatus {
 public:
  RankStatus(int rank, int size);

  // From now on write_rank_status() speaks of this rank: it is the process.
  void publish();
  void set_place(const std::string& place);
  void enter(const std::string& operation);
  void leave();

  // "rank 1 of 4, step 12: in all_reduce of 64 bytes (collective 17) for 30 s; last finished: barrier (collective 16)"
  std::string text() const;

 private:
  void update();

  std::string rank_, place_, operation_, finished_ = "nothing";
  bool inside_ = false, published_ = false;
  std::int64_t since_;  // seconds of the monotonic clock
};

}  // namespace grpo::inline GRPO_ABI
