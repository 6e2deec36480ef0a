"""Processes that take turns: each answers a request by a JSON line (serve.h) and is idle while another works."""
import glob
import json
import os
import re
import statistics
import subprocess
import tempfile
import time


class Failed(Exception):
    """A process ended; the message holds what it wrote."""


def busy_seconds():
    """CPU seconds that the whole machine has spent, on anything."""
    user, nice, system, _, _, *interrupts_and_steal = map(int, open("/proc/stat").readline().split()[1:9])
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def session_seconds(session):
    """CPU seconds of all living processes of a session: a launcher and its ranks, too."""
    ticks = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = open(path).read().rsplit(") ", 1)[1].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Contender:
    """A program that says {"ready": true} and then answers requests. `seconds_to_ready` counts from its start."""

    def __init__(self, command, threads):
        self.command = [str(part) for part in command]
        self.log = tempfile.TemporaryFile("w+")
        start = time.perf_counter()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
        self.ready = self.read()
        self.seconds_to_ready = time.perf_counter() - start

    def read(self):
        """The next line that is a JSON object; libraries print others."""
        for line in self.process.stdout:
            if line.startswith('{"'):
                return json.loads(line)
        self.process.wait()
        self.log.seek(0)
        raise Failed(f"{' '.join(self.command)} ended with {self.process.returncode}:\n{self.log.read()[-4000:]}")

    def ask(self, request=None):
        """Its answer, with "others": the share of the machine's CPU time that other processes took meanwhile."""
        start, busy, own = time.perf_counter(), busy_seconds(), session_seconds(self.process.pid)
        try:
            self.process.stdin.write(json.dumps(request or {}) + "\n")
        except BrokenPipeError:
            pass  # read() says why
        answer = self.read()
        others = busy_seconds() - busy - (session_seconds(self.process.pid) - own)
        answer["others"] = max(0.0, others) / os.cpu_count() / (time.perf_counter() - start)
        return answer

    def close(self):
        """Ends it; its peak resident memory in bytes (a launcher's own, not its ranks')."""
        self.process.stdin.close()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.process.stdout.close()
        self.log.close()
        return usage.ru_maxrss * 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.close()


def take_turns(rounds, turns):
    """Answers by name: every round calls each of `turns` (name: function) once, in order; a round before them is not counted."""
    answers = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            answer = turn()
            if number > 0:
                answers[name].append(answer)
    return answers


def median(answers, value):
    """Of a key, or of a function of an answer."""
    return statistics.median(value(answer) if callable(value) else answer[value] for answer in answers)


def round_ratios(ours, peers, value):
    """Of each round, ours / peer's."""
    get = value if callable(value) else lambda answer: answer[value]
    return [get(one) / get(other) for one, other in zip(ours, peers)]


def seconds_until(pattern, command, threads):
    """From the start of a program until it writes a line that matches; waits for its end."""
    with tempfile.TemporaryFile("w+") as log:
        start, busy = time.perf_counter(), busy_seconds()
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"})
        seconds = None
        for line in process.stdout:
            log.write(line)
            if seconds is None and re.search(pattern, line):
                seconds = time.perf_counter() - start
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode != 0 or seconds is None:
            log.seek(0)
            raise Failed(f"{command[0]} ended with {process.returncode}, no line {pattern}:\n{log.read()[-4000:]}")
        others = busy_seconds() - busy - usage.ru_utime - usage.ru_stime
        return {"seconds": seconds, "others": max(0.0, others) / os.cpu_count() / (time.perf_counter() - start)}
