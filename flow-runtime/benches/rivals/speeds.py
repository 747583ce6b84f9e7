#!/usr/bin/env python3
"""Measures the data plane beside others, in one run, and prints Markdown tables.

The file is a generated month of yellow taxi trips, as many rows as January 2021 had. Every way is a process of its own; all of
them run in turns, round after round, and a figure is the median of its rounds. The first round also looks whether all ways have
made the same. Needed are Python 3.11 or later, Rust, the server programs of PostgreSQL (PG_BIN, or where packages put them), and
the package registries for the first call. What is built, installed and generated is kept in `target/rivals`; the rest goes into a
temporary folder.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import typing

# Nothing is written beside the programs.
sys.dont_write_bytecode = True

import data_rivals  # noqa: E402
from server import Server  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
RELEASE = ROOT / "target" / "release"
GENERATE, MEASURE, PLAIN = (RELEASE / "examples" / name for name in ("gen_yellow", "measure", "plain_taxi"))
DAGS = RELEASE / "dags"
ROWS, SAMPLE = 1_369_765, 50_000
MIB = 1 << 20
# What the rows of tables of the same trips have in common, whatever their order.
CHECKSUM = "SELECT count(*) || ' rows, ' || sum(hashtextextended(trips::text, 0)) FROM trips"


def log(text):
    print(text, file=sys.stderr, flush=True)


def run(command, **options):
    """Runs a program to its end; gives what it printed, its seconds and its seconds of CPU."""
    began = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, **options)
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))[:300]} failed with exit code {process.returncode}: {out.strip()[-500:]}")
    return out, seconds, used.ru_utime + used.ru_stime


def whole(command, **options):
    """A program that is measured from start to exit."""
    _, seconds, cpu = run(command, **options)
    return {"seconds": seconds, "cpu": cpu}


def ours(*arguments):
    """One operation of flow-data, which times itself."""
    out, _, cpu = run([MEASURE, *arguments])
    seconds, memory = re.match(r"([\d.]+) s, peak (\d+) MiB", out).groups()
    return {"seconds": float(seconds), "cpu": cpu, "peak": int(memory) * MIB}


@dataclasses.dataclass
class Way:
    """One way to do something."""

    group: str
    name: str
    run: typing.Callable
    # Before each run, unmeasured.
    prepare: typing.Callable = lambda: None
    # What it made, as a text that is the same for all ways of a group. Asked in the first round.
    made: typing.Callable | None = None
    rows: int | None = None
    found: list = dataclasses.field(default_factory=list)

    def median(self, what):
        values = [each[what] for each in self.found if what in each]
        return statistics.median(values) if values else None

    def peak(self):
        return max((each["peak"] for each in self.found if "peak" in each), default=None)


class Speeds:
    """All ways, on one file."""

    def __init__(self, options, folder, python):
        self.options, self.folder, self.python = options, folder, python
        self.csv_gz = options.work / f"yellow-{options.rows}.csv.gz"
        self.csv = options.work / f"yellow-{options.rows}.csv"
        self.parquet, self.database = folder / "trips.parquet", folder / "trips.db"
        self.server = None
        self.ways = []

    def others(self, name, *arguments):
        return json.loads(run([self.python, "-B", HERE / "data_rivals.py", name, *arguments])[0])

    def way(self, group, name, run, **rest):
        rest.setdefault("rows", self.options.rows)
        self.ways.append(Way(group, name, run, **rest))

    def files(self):
        """The trips, packed and not, and as Parquet."""
        if not self.csv_gz.exists():
            log(f"making {self.options.rows:,} rows ...")
            unfinished = self.csv_gz.with_name("unfinished.csv.gz")
            run([GENERATE, unfinished, self.options.rows])
            unfinished.rename(self.csv_gz)
        if not self.csv.exists():
            import gzip

            unfinished = self.csv.with_name("unfinished.csv")
            with gzip.open(self.csv_gz) as packed, open(unfinished, "wb") as out:
                shutil.copyfileobj(packed, out, MIB)
            unfinished.rename(self.csv)
        ours("parquet", self.csv_gz, self.parquet)

    def to_parquet(self):
        def same(target):
            def made():
                self.others("same", self.csv_gz, target)
                return "the rows of the CSV file, as DuckDB and pyarrow read them"

            return made

        def add(name, work):
            target = self.folder / f"{len(self.ways)}.parquet"
            self.way("parquet", name, lambda: {**work(target), "bytes": target.stat().st_size}, made=same(target))

        add("flow-data", lambda target: ours("parquet", self.csv_gz, target))
        for name, way in [
            ("DuckDB", "parquet_duckdb"),
            ("pyarrow", "parquet_pyarrow"),
            ("pyarrow, streaming", "parquet_pyarrow_streaming"),
        ]:
            add(name, lambda target, way=way: self.others(way, self.csv_gz, target))

    def to_postgres(self):
        server = self.server = Server(self.folder)
        create = f"CREATE TABLE trips ({data_rivals.definition()})"
        from_csv = f"\\copy trips FROM '{self.csv}' WITH (FORMAT csv, HEADER)"
        binary = server.data / "trips.bin"
        from_binary = f"COPY trips FROM '{binary}' (FORMAT binary)"
        server.ask(create, from_csv, f"COPY trips TO '{binary}' (FORMAT binary)")

        def empty():
            server.ask("DROP TABLE IF EXISTS trips", create, "CHECKPOINT")

        def full():
            server.ask("TRUNCATE trips", from_binary, "CHECKPOINT")

        def add(name, work, prepare=empty, made=lambda: server.ask(CHECKSUM), **rest):
            def measured():
                before = server.cpu()
                told = work()
                return {**told, "server": server.cpu() - before}

            self.way("postgres", name, measured, prepare=prepare, made=made, **rest)

        def into(file, *options):
            return lambda: ours("into", server.url, "trips", file, *options)

        add("psql `\\copy` csv", lambda: whole(server.psql(from_csv)))
        add("the server's COPY BINARY of a ready file", lambda: whole(server.psql(from_binary)))
        add("flow-data, CSV", into(self.csv))
        add("flow-data, CSV, replaced, 2 connections", into(self.csv, "replace", "connections=2"))
        add("flow-data, CSV as it is", into(self.csv, "raw"))
        add("flow-data, Parquet", into(self.parquet))
        add("flow-data, Parquet, replaced, 2 connections", into(self.parquet, "replace", "connections=2"))
        add("pyarrow and ADBC, CSV", lambda: self.others("adbc_csv", self.csv, server.url))
        add("pyarrow and ADBC, Parquet", lambda: self.others("adbc_parquet", self.parquet, server.url))
        sample = min(SAMPLE, self.options.rows)
        name, pandas = f"pandas `to_sql`, CSV, {sample:,} rows", ("pandas_to_sql", self.csv, server.url, sample)
        add(name, lambda: self.others(*pandas), rows=sample, made=None)
        back = self.folder / "back.parquet"

        def unloaded():
            self.others("same", self.csv_gz, back)
            return server.ask(CHECKSUM)

        add("flow-data, unloaded to Parquet", lambda: ours("unload", server.url, "trips", back), full, unloaded)

    def to_sqlite(self):
        def add(name, work):
            self.way("sqlite", name, work, prepare=lambda: self.database.unlink(missing_ok=True), made=made)

        def made():
            with sqlite3.connect(self.database) as connection:
                sums = ", ".join(f'total("{name}"), count("{name}"), min("{name}")' for name in data_rivals.NAMES)
                return str(connection.execute(f"SELECT count(*), {sums} FROM trips").fetchall())

        url = f"sqlite://{self.database}"
        add("flow-data, CSV", lambda: ours("into", url, "trips", self.csv))
        add("flow-data, Parquet", lambda: ours("into", url, "trips", self.parquet))
        add("Python's csv and sqlite3", lambda: self.others("sqlite_executemany", self.csv, self.database))

    def upload(self):
        store, target = self.folder / "store", self.folder / "store" / "trips.parquet"

        def add(name, work):
            def prepare():
                shutil.rmtree(store, ignore_errors=True)
                store.mkdir()
                # What others have yet to write must not count here.
                os.sync()

            self.way("upload", name, work, prepare=prepare, made=lambda: str(target.stat().st_size))

        add("a plain copy, synced", lambda: self.others("copy", self.parquet, target))
        add("flow-data, upload", lambda: ours("upload", self.parquet, target))

    def engine(self):
        url, home = f"file://{self.csv_gz}", self.folder / "home"

        def made():
            with sqlite3.connect(home / "warehouse.db") as connection:
                return str(connection.execute("SELECT count(*), sum(total_amount) FROM trips").fetchall())

        def add(name, command):
            def prepare():
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                os.sync()

            self.way("engine", name, lambda: whole(command, cwd=self.folder), prepare=prepare, made=made)

        add("the calls in a plain `main`", [PLAIN, url, home])
        add("the DAG `taxi`", [DAGS, "--home", home, "run", "taxi", "--param", f"url={url}"])

    def measure(self):
        first = {}
        for turn in range(self.options.rounds):
            for way in self.ways:
                way.prepare()
                told = way.run()
                way.found.append(told)
                log(f"round {turn + 1} of {self.options.rounds}: {way.group}: {way.name}: {told['seconds']:.3f} s")
                if turn == 0 and way.made:
                    made = way.made()
                    expected = first.setdefault(way.group, made)
                    if made != expected:
                        sys.exit(f"{way.name} made {made}; the way before it made {expected}")

    def close(self):
        if self.server:
            self.server.close()


def number(value, pattern):
    return "" if value is None else format(value, pattern)


def table(ways, comparisons, extra=()):
    """A table of one group. A comparison is a heading, and a function of a way."""
    head = ["way", "s", "fastest", *(heading for heading, _ in comparisons), "rows/s", "CPU s", *(heading for heading, _ in extra), "peak MiB"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for way in ways:
        seconds, peak = way.median("seconds"), way.peak()
        fastest = min(each["seconds"] for each in way.found)
        cells = [way.name, *(f"{each:.3f}" if each < 0.5 else f"{each:.2f}" for each in (seconds, fastest))]
        cells += [number(compare(way), ".2f") for _, compare in comparisons]
        cells += [f"{way.rows / seconds:,.0f}", f"{way.median('cpu'):.2f}"]
        cells += [tell(way) for _, tell in extra]
        lines.append([*cells, number(peak and peak / MIB, ".0f")])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def times(base, power=1):
    """How often a way's rows a second are those of another way; with power -1, its time for a row."""

    def compare(way):
        if way is base:
            return None
        pace = (base.median("seconds") / base.rows) / (way.median("seconds") / way.rows)
        return pace**power

    return compare


def told(speeds):
    """All tables, and what was wanted."""
    groups = {}
    for way in speeds.ways:
        groups.setdefault(way.group, []).append(way)
    named = {(way.group, way.name): way for way in speeds.ways}
    goals = []

    def goal(text, value, pattern, reached):
        goals.append(f"| {text} | {format(value, pattern)} | {'yes' if reached else 'no'} |")

    def pace(way, base):
        return times(base)(way)

    if ways := groups.get("parquet"):
        duckdb = named["parquet", "DuckDB"]
        size = ("file MiB", lambda way: f"{way.median('bytes') / MIB:.1f}")
        yield "CSV.gz to Parquet", table(ways, [("times as fast as DuckDB", times(duckdb))], [size])
        fast, peak = pace(ways[0], duckdb), ways[0].peak() / MIB
        goal("CSV.gz to Parquet: 1.5 times as fast as DuckDB", fast, ".2f", fast >= 1.5)
        goal("CSV.gz to Parquet: at most 150 MiB", peak, ".0f", peak <= 150)
    if ways := groups.get("postgres"):
        base, ready = ways[0], ways[1]
        compared = [("times as fast as `\\copy`", times(base)), ("times the time of COPY BINARY", times(ready, -1))]
        server = ("server CPU s", lambda way: f"{way.median('server'):.2f}")
        yield "To Postgres, and back", table(ways, compared, [server])
        csv, parquet = named["postgres", "flow-data, CSV"], named["postgres", "flow-data, Parquet"]
        fast, near, peak = pace(csv, base), 1 / pace(csv, ready), csv.peak() / MIB
        goal("CSV to Postgres: 1.8 times as fast as `\\copy`", fast, ".2f", fast >= 1.8)
        goal("CSV to Postgres: within 1.15 of COPY BINARY", near, ".2f", near <= 1.15)
        goal("CSV to Postgres: at most 250 MiB", peak, ".0f", peak <= 250)
        faster = pace(parquet, csv)
        goal("Parquet to Postgres: faster than CSV", faster, ".2f", faster > 1)
    if ways := groups.get("sqlite"):
        yield "To SQLite", table(ways, [("times as fast as Python's", times(ways[-1]))])
        for way in ways[:2]:
            rate = way.rows / way.median("seconds")
            goal(f"{way.name.split(', ')[1]} to SQLite: 500,000 rows/s", rate, ",.0f", rate >= 500_000)
    if ways := groups.get("upload"):
        yield "Upload to a folder", table(ways, [("of a plain copy's pace", times(ways[0]))])
        share = pace(ways[1], ways[0])
        goal("Upload: 80 % of a plain copy's pace", share, ".0%", share >= 0.8)
    if ways := groups.get("engine"):
        yield "The whole pipeline", table(ways, [("times the time of the calls", times(ways[0], -1))])
        for what, text in [("seconds", "time"), ("cpu", "CPU")]:
            # What each round has added, so that a slow minute of the machine counts on both sides.
            pairs = zip(ways[0].found, ways[1].found, strict=True)
            added = statistics.median(dag[what] / plain[what] - 1 for plain, dag in pairs)
            goal(f"The engine adds at most 2 % of {text}", added, ".1%", added <= 0.02)
    yield "What was wanted", "| goal | measured | reached |\n|---|---:|---|\n" + "\n".join(goals)


def python(options):
    """A Python that has the rivals."""
    venv = options.work / "venv-data"
    found, stamp, pins = venv / "bin" / "python", venv / "installed", HERE / "requirements-data.txt"
    if not stamp.exists() or stamp.read_text() != pins.read_text():
        log("installing the rivals ...")
        run([sys.executable, "-m", "venv", "--clear", venv])
        run([found, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", pins])
        stamp.write_text(pins.read_text())
    return found


GROUPS = {
    "parquet": Speeds.to_parquet,
    "postgres": Speeds.to_postgres,
    "sqlite": Speeds.to_sqlite,
    "upload": Speeds.upload,
    "engine": Speeds.engine,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help=f"what to measure, of {', '.join(GROUPS)}; all unless said")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target" / "rivals", help="what is kept goes there")
    parser.add_argument("--no-build", action="store_true", help="measure the programs that are there")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no group is called {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.no_build:
        packages = ["-p", "flow-data", "-p", "dags", "--examples", "--bin", "dags"]
        subprocess.run(["cargo", "build", "--release", *packages], check=True, cwd=ROOT)
    interpreter = python(options)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flow-speeds-"))
    speeds = Speeds(options, folder, interpreter)
    try:
        speeds.files()
        for name in options.groups or GROUPS:
            GROUPS[name](speeds)
        load = os.getloadavg()[0]
        speeds.measure()
        for heading, text in told(speeds):
            print(f"### {heading}\n\n{text}\n")
        size = speeds.csv.stat().st_size / 1e6
        print(f"{options.rows:,} rows, {size:.0f} MB of CSV, medians of {options.rounds} rounds, {platform.machine()}, ", end="")
        print(f"{os.cpu_count()} cores, a load of {load:.1f} before, {speeds.server and speeds.server.version or 'no server'}.")
    finally:
        speeds.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
