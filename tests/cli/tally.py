"""Counts the checks of a script."""
passed, failures = 0, []


def check(condition, what):
    global passed
    if condition:
        passed += 1
    else:
        failures.append(what)
        print(f"FAILED: {what}")
    return bool(condition)


def finish():
    """The line that tests/run.sh reads, and the exit code."""
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0
