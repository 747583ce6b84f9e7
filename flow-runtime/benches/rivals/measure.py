"""What the rivals' Python programs measure of themselves, and how they say it.

Times are in seconds, memory in bytes. CPU and memory are those of the process and of all its children, such as a
server that it has started.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import time

PROC = pathlib.Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")


def shape(text):
    """Reads `chain:100` and `wide:1000`."""
    kind, _, number = text.partition(":")
    if kind not in ("chain", "wide") or not number.isdigit() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no shape: write chain:N or wide:N")
    return kind, int(number)


def arguments(doc):
    """The command line that all the programs share."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("shape", type=shape)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="a temporary folder for what is written")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="one run, without the one that warms up")
    return parser.parse_args()


def children():
    """Ids of all processes that this one has started, and they in turn; none where there is no /proc."""
    parents = {}
    for entry in PROC.glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(_stat(entry)[1])
        except OSError:
            continue  # It ended while we were looking.
    found, waiting = [], [os.getpid()]
    while waiting:
        parent = waiting.pop()
        below = [child for child, its_parent in parents.items() if its_parent == parent]
        found += below
        waiting += below
    return found


def _stat(entry):
    """The fields of a process's `stat` after its name, which may itself hold blanks."""
    return (entry / "stat").read_text().rpartition(")")[2].split()


def cpu_seconds():
    """User and system time so far."""
    ticks = 0
    for child in children():
        try:
            fields = _stat(PROC / str(child))
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / TICK


def peak():
    """The most memory that each process has had, added up."""
    total = 0
    for process in [os.getpid(), *children()]:
        try:
            lines = (PROC / str(process) / "status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    if total:
        return total
    # Elsewhere than on Linux: of this process alone.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def repeat(args, run, settled=lambda: None):
    """Calls `run` again and again, and prints what it took as one JSON object.

    `settled` waits until what a run has left to be done is done. That is no part of the wall time, but its CPU time
    is the run's, and it must not fall into the next run.
    """
    walls, cpus, settling = [], [], []
    warm = 0 if args.once else 1
    for number in range(warm + (1 if args.once else args.repeat)):
        cpu, began = cpu_seconds(), time.perf_counter()
        run()
        ended = time.perf_counter()
        settled()
        if number >= warm:
            walls.append(ended - began)
            settling.append(time.perf_counter() - ended)
            cpus.append(cpu_seconds() - cpu)
    print(json.dumps({"walls": walls, "cpus": cpus, "peak": peak(), "settling": settling}))
