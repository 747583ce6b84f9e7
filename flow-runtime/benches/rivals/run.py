#!/usr/bin/env python3
"""Measures flow's engine beside its rivals, for tasks that do nothing, and prints one Markdown table.

Everything is measured in this one call, on this machine, one program after the other. Needed are Python 3.11 or
later, Rust, and the package registries of both for the first call. All that is built and installed, and all that the
programs write while they are measured, goes into `target/rivals`: flow's and the rivals' files are on the same disk.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SHAPES = ["chain:100", "wide:1000"]
NAMES = ["flow", "dagrs", "luigi", "prefect"]
# Seconds that a program may take to be measured, and to be built.
MEASURING, BUILDING = 600, 3600

LEVELS = {"memory": "nothing: in memory", "process": "a process crash", "power": "power loss"}


class Failed(Exception):
    """What could not be measured, in a sentence."""


def log(text):
    print(text, file=sys.stderr, flush=True)


def child(what, command, timeout=MEASURING, **options):
    """Runs a program to its end, and returns its output and the seconds from its start to its end."""
    began = time.perf_counter()
    try:
        # A process group of its own, so that what it starts can be ended with it.
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
    except OSError as error:
        raise Failed(f"{what} could not be started: {error}.") from error
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{what} took longer than {timeout} s and was ended.") from error
    finally:
        # After a time-out or an interrupt it still runs; after its own end nothing of it should, but a server might.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    seconds = time.perf_counter() - began
    if process.returncode != 0:
        said = (err.strip() or out.strip() or "it said nothing").splitlines()[-1]
        raise Failed(f"{what} failed with exit code {process.returncode}: {said}")
    return out, seconds


def measured(what, command, **options):
    """The JSON that a program prints, and the seconds from its start to its end."""
    log(f"measuring {what} ...")
    out, seconds = child(what, command, **options)
    try:
        return json.loads(out), seconds
    except json.JSONDecodeError as error:
        raise Failed(f"{what} printed something else than JSON.") from error


def pinned(file, name):
    """The version of a rival that a file pins."""
    found = re.search(rf'^{name}\s*(?:=\s*{{\s*version\s*=\s*"=|==)([\w.]+)', (HERE / file).read_text(), re.MULTILINE)
    if not found:
        raise Failed(f"{file} pins no version of {name}.")
    return found[1]


def row(tool, level, shapes, durable=None):
    """A row: times in seconds, memory in bytes, for each shape."""
    kept = ("wall", "cpu", "peak", "runs", "process")
    shapes = {shape: {key: found[key] for key in kept if key in found} for shape, found in shapes.items()}
    return {"tool": tool, "level": level, "durable": durable or LEVELS[level], "shapes": shapes}


def flow(options, folder):
    """The three rows of flow, from its own bench."""
    program = options.dags
    if not program.exists() and not options.no_build:
        log("building flow ...")
        child("building flow", ["cargo", "build", "--release", "--bin", "dags"], timeout=BUILDING, cwd=ROOT)
    if not program.exists():
        raise Failed("flow's program is not built: run without `--no-build`, or say where it is with `--dags`.")
    command = [program, "bench", *SHAPES, "--json", "--folder", folder]
    if options.repeat:
        command += ["--repeat", options.repeat]
    found, _ = measured("flow", command, cwd=ROOT)
    shapes = {level: {} for level in LEVELS}
    for line in found["rows"]:
        shapes[line["store"]][line["shape"]] = line
    return [row("flow", level, shapes[level]) for level in LEVELS]


def rival(what, command, shape, runs, cwd):
    """What a rival measures of itself in one shape, and how long it takes as a whole process with a single run."""
    found, _ = measured(f"{what} {shape}", [*command, "--repeat", runs], cwd=cwd, env=environment())
    _, process = measured(f"{what} {shape}, one process", [*command, "--once"], cwd=cwd, env=environment())
    return {
        "wall": statistics.median(found["walls"]),
        "cpu": statistics.median(found["cpus"]),
        "peak": found["peak"],
        "runs": runs,
        "process": process,
        # When all was on record that was not when the run ended.
        "recorded": statistics.median(map(sum, zip(found["walls"], found.get("settling", [0] * runs)))),
    }


def environment():
    """Ours without what would change how a rival runs."""
    kept = {name: value for name, value in os.environ.items() if not re.match("PREFECT_|LUIGI_|PYTHON|TOKIO_", name)}
    # Nothing is written beside the programs.
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def dagrs(options, folder):
    """dagrs keeps nothing. It leaves the runtime to its caller, so there is a row for each kind."""
    version = pinned("dagrs/Cargo.toml", "dagrs")
    target = options.work / "dagrs"
    program = target / "release" / "dagrs-rival"
    if not options.no_build:
        log("building dagrs ...")
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "dagrs" / "Cargo.toml"]
        child("building dagrs", [*command, "--target-dir", target], timeout=BUILDING, cwd=ROOT)
    if not program.exists():
        raise Failed("dagrs is not built: run without `--no-build`.")
    rows = []
    for threads, name in [("one", "one thread"), ("many", "a thread for each core")]:
        shapes = {
            shape: rival(f"dagrs on {name},", [program, threads, shape], shape, options.repeat or 30, folder)
            for shape in SHAPES
        }
        rows.append(row(f"dagrs {version}, {name}", "memory", shapes))
    return rows


def python(options):
    """The Python that has the rivals, in an environment of its own."""
    venv = options.work / "venv"
    program = venv / "bin" / "python"
    pins = b"".join((HERE / name).read_bytes() for name in ("requirements.txt", "constraints.txt"))
    wanted, stamp = hashlib.sha256(pins).hexdigest(), venv / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return program
    if options.no_build:
        raise Failed("The Python rivals are not installed: run without `--no-build`.")
    log("installing Luigi and Prefect ...")
    shutil.rmtree(venv, ignore_errors=True)
    child("making a Python environment", [sys.executable, "-m", "venv", venv])
    pip = [program, "-m", "pip", "install", "--disable-pip-version-check", "-r", HERE / "requirements.txt"]
    child("installing the Python rivals", pip, timeout=BUILDING)
    stamp.write_text(wanted)
    return program


def python_rival(options, folder, name, file, runs):
    """Both shapes of a rival in Python; `runs` holds how often each is repeated."""
    shapes = {}
    for shape in SHAPES:
        # The second process finds the folder as the first has left it: a database is made once, not for each run.
        own = folder / f"{name}-{shape.replace(':', '-')}"
        own.mkdir()
        command = [python(options), HERE / file, shape, "--folder", own]
        shapes[shape] = rival(name, command, shape, options.repeat or runs[shape], own)
    return shapes


def luigi(options, folder):
    """Luigi keeps the targets of its tasks."""
    version = pinned("requirements.txt", "luigi")
    shapes = python_rival(options, folder, "Luigi", "luigi_dag.py", {"chain:100": 10, "wide:1000": 3})
    return [row(f"Luigi {version}", "process", shapes, "a process crash: a file for each task, not synced")]


def prefect(options, folder):
    """Prefect returns before it has recorded, so there is a row for each of the two moments."""
    version = pinned("requirements.txt", "prefect")
    shapes = python_rival(options, folder, "Prefect", "prefect_flow.py", {"chain:100": 5, "wide:1000": 3})
    recorded = {shape: {**found, "wall": found["recorded"]} for shape, found in shapes.items()}
    return [
        row(f"Prefect {version}, flow returns", "process", shapes, "a process crash, but not yet for every task"),
        row(f"Prefect {version}, all on record", "process", recorded, "a process crash: SQLite"),
    ]


def compare(rows):
    """Adds to each rival's shapes how many times flow's wall time they take, at the same level of durability."""
    ours = {each["level"]: each["shapes"] for each in rows if each["tool"] == "flow" and "shapes" in each}
    for each in rows:
        for shape, found in each.get("shapes", {}).items():
            base = ours.get(each["level"], {}).get(shape)
            if each["tool"] != "flow" and base:
                found["times_flow"] = found["wall"] / base["wall"]


def figure(number):
    """A number as exactly as noise allows."""
    return f"{number:.2f}" if number < 1 else f"{number:.1f}" if number < 10 else f"{number:,.0f}"


def table(rows):
    """The rows as Markdown."""
    head = ["tool", "durable against"]
    for shape in SHAPES:
        head += [f"{shape}, ms", "times flow"]
    head += ["CPU, ms", "peak, MB", "one process, ms"]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    for each in rows:
        if "failed" in each:
            lines.append([each["tool"], each["failed"].replace("|", "\\|")] + [""] * (len(head) - 2))
            continue
        cells = [each["tool"], each["durable"]]
        found = [each["shapes"][shape] for shape in SHAPES]
        for shape in found:
            times = shape.get("times_flow")
            cells += [figure(shape["wall"] * 1e3), figure(times) if times else "–"]
        cells.append(" / ".join(figure(shape["cpu"] * 1e3) for shape in found))
        cells.append(" / ".join(figure(shape["peak"] / 1e6) for shape in found))
        cells.append(" / ".join(figure(shape["process"] * 1e3) if "process" in shape else "–" for shape in found))
        lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


NOTES = """\
Wall and CPU time are medians of runs in a process that has warmed up; start-up is left out of them. "one process" is
all of a process that runs the DAG once, from its start to its end; flow's bench does not tell it. Where two numbers
stand in a cell, they are those of chain:100 and wide:1000. "times flow" compares with flow's row at the same level of
durability, and is above 1 where flow is faster. CPU time and peak memory are of the process and its server together.
Prefect's flow returns while the states of its tasks are still on their way to its database; its CPU time in both rows
is that until all are there."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = ROOT / "target"
    parser.add_argument("--dags", type=pathlib.Path, default=target / "release" / "dags", help="flow's program")
    parser.add_argument("--work", type=pathlib.Path, default=target / "rivals", help="where all files go")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--repeat", type=int, help="runs of each shape; the default depends on how long they take")
    parser.add_argument("--no-build", action="store_true", help="build and install nothing: use what is there")
    parser.add_argument("--json", action="store_true", help="times in seconds and memory in bytes, as JSON")
    options = parser.parse_args()
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat must be at least 1")
    # The programs run in folders of their own.
    options.dags, options.work = options.dags.resolve(), options.work.resolve()
    return options


def main():
    options = arguments()
    # Ended from outside, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options.work.mkdir(parents=True, exist_ok=True)
    rows, measure = [], {"flow": flow, "dagrs": dagrs, "luigi": luigi, "prefect": prefect}
    with tempfile.TemporaryDirectory(dir=options.work, prefix="measuring-") as folder:
        for name in [name for name in NAMES if name in options.only]:
            try:
                rows += measure[name](options, pathlib.Path(folder))
            except Failed as failed:
                log(str(failed))
                rows.append({"tool": name, "failed": str(failed)})
    compare(rows)
    machine = {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()}
    machine["python"] = platform.python_version()
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}, indent=2, ensure_ascii=False))
    else:
        print(table(rows))
        print(f"\n{NOTES}")
        print("Measured on {system} {machine} with {cores} cores, Python {python}.".format(**machine))
    return 1 if any("failed" in each for each in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
