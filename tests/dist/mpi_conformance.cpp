// One rank of the tests under mpirun (tests/cli/ranks.py).
//
//   mpi_conformance list | failures      names of the suite's checks, without starting MPI
//   mpi_conformance checks              all that leave the communicator good
//   mpi_conformance failure NAME        one that does not
//   mpi_conformance threads CONFIGURED  threads of this rank
//   mpi_conformance throw | ...         what happens then is told by messages and exit codes
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "dist/conformance.h"
#include "dist/launcher.h"

namespace {

using namespace grpo;
using namespace std::chrono_literals;

void on_terminate(int signal) {
  write_rank_status(STDERR_FILENO);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run_check(Communicator& c, const ConformanceCheck& check) {
  try {
    check.run(c);
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(check.name) + ": rank " + std::to_string(c.rank()) + ": " + error.what());
  }
  if (c.rank() == 0) std::printf("passed %s %d\n", check.name, c.size());
}

// As Trainer does: what a rank throws, it tells the others.
template <typename Body>
void told(Communicator& c, Body body) {
  try {
    body();
  } catch (const Error& error) {
    c.fail(error);
    throw;
  }
}

void sum_for_ever(Communicator& c, double value) {
  while (true) c.all_reduce(std::span(&value, 1));
}

void run(const std::string& what, const std::string& name) {
  if (what == "list" || what == "failures") {
    for (const ConformanceCheck& check : what == "list" ? conformance_checks() : failure_checks())
      std::puts(check.name);
    return;
  }
  Communicator c = Communicator::from_environment();
  const bool last = c.rank() == c.size() - 1;
  c.set_place("step 12");
  if (what == "checks") {
    for (const ConformanceCheck& check : conformance_checks()) run_check(c, check);
  } else if (what == "failure") {
    for (const ConformanceCheck& check : failure_checks())
      if (check.name == name) run_check(c, check);
  } else if (what == "threads") {
    std::printf("threads %d\n", threads_of_rank(c, std::stoi(name)));
  } else if (what == "throw") {
    told(c, [&] {
      if (last) throw Error("the loss is not finite", ErrorKind::Guard);
      sum_for_ever(c, 1);
    });
  } else if (what == "untold") {
    if (last) throw Error("nobody was told");
    sum_for_ever(c, 1);
  } else if (what == "untold-group") {
    Communicator group = c.split(0);
    if (last) throw Error("nobody was told");
    sum_for_ever(group, 1);
  } else if (what == "early") {
    told(c, [&] {
      if (!last) sum_for_ever(c, 1);
    });
  } else if (what == "sleep") {
    c.barrier();
    c.set_deadline(1);
    if (last) std::this_thread::sleep_for(60s);
    sum_for_ever(c, 1);
  } else if (what == "throw-to-sleeper") {
    c.set_deadline(1);
    told(c, [&] {
      if (!last) throw Error("nobody listens");
      std::this_thread::sleep_for(60s);
    });
  } else if (what == "killed") {
    c.barrier();
    if (last) std::raise(SIGKILL);
    sum_for_ever(c, 1);
  } else if (what == "twice") {
    Communicator again = Communicator::from_environment();
    again.barrier();
    c.barrier();
    if (c.rank() == 0) std::printf("passed twice %d\n", again.size());
  } else {
    throw Error("unknown: " + what);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGTERM, on_terminate);
  try {
    run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
    return 0;
  } catch (const Error& error) {
    log::error(error.what());
    return error.kind() == ErrorKind::User ? 2 : error.kind() == ErrorKind::Guard ? 3 : 1;
  } catch (const std::exception& error) {
    log::error(error.what());
    return 1;
  }
}
