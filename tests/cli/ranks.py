#!/usr/bin/env python3
"""Ranks under mpirun: the suite of every communicator at 1, 2 and 4 ranks, and how runs end when one rank does not go on.

  tests/cli/ranks.py MPI_CONFORMANCE_PROGRAM LIBGRPO_MPI

Exit code 77, with the reason: this machine cannot run it. Everything runs in a network of its own, because mpirun and
its ranks listen on all interfaces.
"""
import os, re, shutil, subprocess, sys, time

import own_network


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


class Run:
    def __init__(self, command, environment=None):
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=os.environ | (environment or {}))
        try:
            self.out, self.err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.terminate()  # mpirun ends its ranks, which it could not if it were killed
            self.out, self.err = process.communicate()
        self.seconds = time.monotonic() - start
        self.code = process.returncode
        self.command = " ".join(command)

    def expect(self, condition, what):
        if not condition:
            raise AssertionError(f"{self.command}: expected {what}; exit code {self.code} after {self.seconds:.1f} s\n"
                                 f"{self.out}{self.err}")

    def expect_code(self, code):
        self.expect(self.code == code, f"exit code {code}")

    def expect_lines(self, pattern, count):
        found = re.findall(pattern, self.err)
        self.expect(len(found) == count, f"{count} times \"{pattern}\" on stderr, got {len(found)}")


def ranks(number, *arguments, binding="none", environment=None):
    return Run(["mpirun", "--oversubscribe", "--bind-to", binding, "-n", str(number), program, *arguments], environment)


def conforms(number):
    run = ranks(number, "checks")
    run.expect_code(0)
    names = Run([program, "list"]).out.split()
    run.expect(len(names) > 10, "a list of checks")
    for name in names:
        run.expect(f"passed {name} {number}\n" in run.out, f"check {name} to pass")


def failures_reach_all(number):
    names = Run([program, "failures"]).out.split()
    assert len(names) > 3, names
    for name in names:
        run = ranks(number, "failure", name)
        run.expect_code(0)
        run.expect(f"passed {name} {number}\n" in run.out, f"check {name} to pass")


def an_exception_ends_every_rank_with_its_exit_code():
    run = ranks(3, "throw")
    run.expect_code(3)
    run.expect_lines("error: the loss is not finite", 1)
    run.expect_lines("error: rank 2: the loss is not finite", 2)


def an_exception_that_was_not_told_ends_every_rank():
    for what, lines in (("untold", 2), ("untold-group", 0)):
        run = ranks(3, what)
        run.expect_code(2)
        run.expect_lines("error: nobody was told", 1)
        run.expect_lines(r"error: .*sum \(rank 0, 1\); the end of the program \(rank 2\)", lines)
        run.expect(run.seconds < 20, "a prompt end")


def a_rank_that_ends_early_is_named():
    run = ranks(3, "early")
    run.expect_code(2)
    run.expect_lines(r"error: .*sum \(rank 0, 1\); the end of the program \(rank 2\)", 2)


def a_sleeping_rank_meets_the_deadline():
    run = ranks(3, "sleep")
    run.expect_code(3)
    for rank in (0, 1):
        run.expect_lines(rf"error: deadline expired: rank {rank} of 3, step 12: in all_reduce<double> of 8 bytes, sum "
                         r"\(collective 2\) for \d+ s; last finished: barrier \(collective 1\)", 1)
    run.expect_lines(r"(?m)^rank 2 of 3, step 12: outside collectives for \d+ s; last finished: barrier", 1)
    run.expect(run.seconds < 30, "an end soon after the deadline")


def a_sleeping_rank_does_not_hold_up_an_error_for_ever():
    run = ranks(2, "throw-to-sleeper")
    run.expect_code(3)
    run.expect_lines("error: deadline expired: rank 0 of 2, step 12: in telling the others of an error", 1)


def a_killed_rank_ends_all():
    run = ranks(3, "killed")
    run.expect(run.code not in (0, 124), "a failure")
    run.expect_lines("rank [01] of 3, step 12: in all_reduce<double>", 2)
    run.expect(run.seconds < 20, "a prompt end")


def communicators_of_the_environment_are_the_same_ranks():
    run = ranks(2, "twice")
    run.expect_code(0)
    run.expect("passed twice 2\n" in run.out, "two communicators")


def threads_follow_the_binding():
    cpus = len(os.sched_getaffinity(0))
    run = ranks(2, "threads", "0")
    run.expect(run.out == f"threads {max(1, cpus // 2)}\n" * 2, "ranks to share the processors")
    run = ranks(2, "threads", "0", binding="hwthread")
    run.expect(run.out == "threads 1\n" * 2, "the bound processor")
    run = ranks(2, "threads", "2", binding="hwthread")
    run.expect_code(2)
    run.expect_lines("threads: 2, but this rank may run on 1 core; .*--bind-to none", 2)


def what_is_missing_is_said():
    run = ranks(2, "twice", environment={"GRPO_MPI_LIBRARY": "/nowhere/libgrpo_mpi.so"})
    run.expect_code(2)
    run.expect_lines("error: .*mpirun started 2 ranks .*which need MPI.*/nowhere/libgrpo_mpi.so.*install OpenMPI", 2)
    run = ranks(2, "twice", environment={"GRPO_MPI_LIBRARY": "libm.so.6"})
    run.expect_lines("error: .*libm.so.6: expected a function grpo_mpi_table, found none", 2)
    run = Run([program, "twice"], {"PMI_SIZE": "4"})
    run.expect_code(2)
    run.expect_lines("error: .*mpiexec started 4 ranks .*but MPI found 1", 1)


program, library = sys.argv[1], sys.argv[2]
if not os.path.exists(program):
    skip("this build is without MPI (openmpi-bin and libopenmpi-dev are not installed, or GRPO_MPI=OFF)")
if not shutil.which("mpirun"):
    skip("mpirun is not installed")
if reason := own_network.enter():
    skip(reason)
os.environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "GRPO_MPI_LIBRARY": library}
tests = [lambda n=n: conforms(n) for n in (1, 2, 4)] + [lambda n=n: failures_reach_all(n) for n in (1, 2, 4)] + [
    an_exception_ends_every_rank_with_its_exit_code, an_exception_that_was_not_told_ends_every_rank,
    a_rank_that_ends_early_is_named, a_sleeping_rank_meets_the_deadline,
    a_sleeping_rank_does_not_hold_up_an_error_for_ever, a_killed_rank_ends_all,
    communicators_of_the_environment_are_the_same_ranks, threads_follow_the_binding, what_is_missing_is_said]
failed = 0
for test in tests:
    try:
        test()
    except AssertionError as error:
        failed += 1
        print(f"FAILED {test.__name__}: {error}")
print(f"{len(tests) - failed} passed, {failed} failed")
sys.exit(failed > 0)
