// Ranks that are threads of one process, for tests of what many processes do.
#pragma once

#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include <grpo/dist.h>

namespace grpo::inline GRPO_ABI {

// Connected communicators, one for each of `ranks` threads. A deadline ends no process: it is an Error of kind Guard on
// every rank.
std::vector<Communicator> thread_communicators(int ranks);

// Runs `body` on a thread for each rank. An exception is told to the other ranks, as Trainer does; after all have ended
// the lowest rank's is thrown.
void run_ranks(int ranks, const std::function<void(Communicator&)>& body);

}  // namespace grpo::inline GRPO_ABI
