#include <string>
#include <vector>

#include "dist/conformance.h"

namespace grpo::inline GRPO_ABI {
namespace {

// The last rank fails as its program would; every rank's next collective tells why, also a second time.
template <typename Next>
void expect_failure(Communicator& c, ErrorKind kind, const std::string& message, Next next) {
  const std::string want = "rank " + std::to_string(c.size() - 1) + ": " + message.substr(0, 4000);
  if (c.rank() == c.size() - 1) c.fail(Error(message, kind));
  for (int repeat = 0; repeat < 2; ++repeat) {
    std::string got;
    ErrorKind got_kind = ErrorKind::User;
    try {
      next();
    } catch (const Error& error) {
      got = error.what();
      got_kind = error.kind();
      c.fail(error);  // nothing to tell any more
    }
    if (c.size() == 1) {
      expect(got.empty(), "one rank has nobody to tell");
      continue;
    }
    expect(got == want && got_kind == kind, "expected \"" + want + "\", got \"" + got + "\"");
  }
}

void an_error_of_one_rank_reaches_all(Communicator& c) {
  std::vector<float> values(3);
  expect_failure(c, ErrorKind::Guard, "the loss is not finite", [&] { c.all_reduce(values); });
}

void an_error_without_a_message_reaches_all(Communicator& c) {
  expect_failure(c, ErrorKind::Internal, "", [&] { c.barrier(); });
}

void a_long_message_is_cut(Communicator& c) {
  expect_failure(c, ErrorKind::User, std::string(5000, 'x'), [&] { c.barrier(); });
}

// The other ranks are in two kinds of groups when one fails; all hear of it, and of the one that failed first.
void an_error_reaches_every_group(Communicator& c) {
  Communicator rows = c.split(c.rank() / 2), columns = c.split(c.rank() % 2);
  rows.barrier();
  columns.barrier();
  const std::string message = "out of memory";
  const int failing = c.size() - 1;
  std::string got;
  try {
    if (c.rank() == failing) throw Error(message);
    for (int i = 0; i < 3; ++i) {
      (c.rank() == 0 ? rows : columns).barrier();
      (c.rank() == 0 ? columns : rows).barrier();
      c.barrier();
    }
  } catch (const Error& error) {
    got = error.what();
    c.fail(error);
  }
  if (c.size() == 1) return;
  expect(c.rank() == failing ? got == message : got == "rank " + std::to_string(failing) + ": " + message,
         "rank " + std::to_string(c.rank()) + " got \"" + got + "\"");
  for (Communicator* group : {&c, &rows, &columns}) {
    if (group->size() == 1) continue;
    try {
      group->barrier();
      expect(false, "a group of a failed rank went on");
    } catch (const Error& error) {
      expect(error.what() == "rank " + std::to_string(failing) + ": " + message, error.what());
    }
  }
}

// Of two groups of the same ranks the others are in the second: what the first is told does not come there.
void groups_of_the_same_ranks_are_apart(Communicator& c) {
  Communicator first = c.split(0), second = c.split(0);
  second.barrier();
  first.barrier();
  expect_failure(c, ErrorKind::Guard, "told in both", [&] { second.barrier(); });
}

void several_errors_at_once_are_that_of_the_lowest_rank(Communicator& c) {
  c.fail(Error("failure of " + std::to_string(c.rank())));
  if (c.size() == 1) return;
  try {
    c.barrier();
    expect(false, "ranks that failed went on");
  } catch (const Error& error) {
    expect(std::string(error.what()) == "rank 0: failure of 0", error.what());
  }
}

constexpr ConformanceCheck kFailureChecks[] = {
    {"an_error_of_one_rank_reaches_all", an_error_of_one_rank_reaches_all},
    {"an_error_without_a_message_reaches_all", an_error_without_a_message_reaches_all},
    {"a_long_message_is_cut", a_long_message_is_cut},
    {"an_error_reaches_every_group", an_error_reaches_every_group},
    {"groups_of_the_same_ranks_are_apart", groups_of_the_same_ranks_are_apart},
    {"several_errors_at_once_are_that_of_the_lowest_rank", several_errors_at_once_are_that_of_the_lowest_rank},
};

}  // namespace

std::span<const ConformanceCheck> failure_checks() { return kFailureChecks; }

}  // namespace grpo::inline GRPO_ABI
