"""Runs a command and writes what it cost: a small process, as Linux counts a parent's peak memory
for its children.

    python tests/benchmarks/cost_of.py RESULT MOST_DATA COMMAND ...

RESULT gets CPU seconds and peak memory in MB. MOST_DATA bytes limit the command's data, 0 does not.
Ends as the command does.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path


def main() -> int:
    result, most_data, *command = sys.argv[1:]
    if int(most_data):
        resource.setrlimit(resource.RLIMIT_DATA, (int(most_data), int(most_data)))
    with subprocess.Popen(command) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    Path(result).write_text(f"{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024}\n")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
