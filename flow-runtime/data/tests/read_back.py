#!/usr/bin/env python3
"""Reads flow-data's Parquet files back by other programs: pyarrow and DuckDB must find what Python wrote as CSV.

    python3 flow-runtime/data/tests/read_back.py [--program MEASURE] [FOLDER ..]

Random tables are written by Python's own csv module in many styles, and turned into Parquet by the example `measure`, once with
types that are guessed, once with those that can only be stated (decimals, times, moments with a zone, UUIDs, JSON).
From each FOLDER all .csv and .csv.gz files are taken as well, with guessed types; DuckDB's own reading of them as text must be
the same. Where none is given, `../shared/data` beside the repository is taken, if it is there. The two readers are installed into `target/read-back` on the first call. Nothing is left out: what is not there or
fails ends the script with an error. The example is built unless it is said where it is.
"""

import csv
import datetime
import decimal
import gzip
import io
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[3]
WORK = ROOT / "target" / "read-back"
PINS = ["duckdb==2.0.1", "pyarrow==26.0.1"]
TABLES = 40
# Real files, which are too large for the repository.
REAL = ROOT.parent / "shared" / "data"


def run(command, **options):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, timeout=3600, **options)


def ready():
    """Starts this script again in an environment that has the readers."""
    venv = WORK / "venv"
    python = venv / "bin" / "python"
    stamp = venv / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(PINS):
        run([sys.executable, "-m", "venv", "--clear", venv])
        run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PINS])
        stamp.write_text(" ".join(PINS))
    sys.exit(subprocess.call([python, __file__, *sys.argv[1:]], env={**os.environ, "FLOW_READ_BACK": "1"}))


def value(rng, kind):
    if rng.random() < 0.1:
        return None
    if kind == "int":
        return rng.choice([rng.randrange(-10, 10), rng.randrange(-(2**63), 2**63), 2**63 - 1, -(2**63)])
    if kind == "float":
        return rng.choice([rng.randrange(-1000, 1000) / 100, rng.uniform(-1e300, 1e300), 5e-324, 0.1 + 0.2])
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "date":
        return datetime.date(1, 1, 1) + datetime.timedelta(days=rng.randrange(3_652_058))
    if kind == "timestamp":
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=rng.randrange(-(10**15), 10**16))
    if kind == "time":
        return (datetime.datetime.min + datetime.timedelta(microseconds=rng.randrange(86_400_000_000))).time()
    if kind == "timestamptz":
        zone = datetime.timezone(datetime.timedelta(minutes=rng.randrange(-900, 900)))
        moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return (moment + datetime.timedelta(microseconds=rng.randrange(-(10**15), 10**16))).astimezone(zone)
    if kind == "uuid":
        return uuid.UUID(int=rng.getrandbits(128))
    if kind == "json":
        return rng.choice([{"a": [1, None, 1.5], "ä\n": "x,\"y\""}, [], "text", 12, False])
    if kind.startswith("decimal"):
        digits, after = map(int, kind[8:-1].split(","))
        most = 10 ** rng.randrange(1, digits + 1)
        return decimal.Decimal(rng.randrange(1 - most, most)).scaleb(-after)
    return rng.choice(["N", "x" * rng.randrange(40), "ä€𝄞", 'a "b", c', "two\nlines", "\\N", " pad ", "'"])


def text(value):
    """As CSV has it. Python cannot write a null beside an empty text: such a text is not among the values."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    return str(value)


def same(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and one == other


def stated_tables(program, readers, duckdb):
    """Types that are stated, one column each: every reader must find the type and the value."""
    kinds = ["time", "timestamptz", "uuid", "json", "decimal(1,0)", "decimal(9,2)", "decimal(18,18)", "decimal(19,4)", "decimal(38,10)"]
    for seed in range(TABLES // 2):
        rng = random.Random(seed)
        # Values that come again are written as a list of the different ones.
        rows = [[value(rng, kind) for kind in kinds] for _ in range(rng.choice([3, 50, 3000]))] * rng.choice([1, 4])
        path = WORK / f"stated-{seed}.csv"
        with path.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow([f"c{n}" for n in range(len(kinds))])
            # JSON of a text or a number is not the text or the number.
            shown = [[json.dumps(v) if kind == "json" and v is not None else text(v) for kind, v in zip(kinds, row)] for row in rows]
            writer.writerows(shown)
        parquet = path.with_suffix(".parquet")
        run([program, "parquet", path, parquet, *(f"c{n}={kind}" for n, kind in enumerate(kinds))])
        for name, (read, types) in readers.items():
            assert types(parquet) == TYPES[name], f"{name} finds {types(parquet)}, not {TYPES[name]}"
            back = read(parquet)
            assert len(back) == len(rows), f"seed {seed}: {name} reads {len(back)} rows of {len(rows)}"
            for number, (got, want) in enumerate(zip(back, rows)):
                for kind, one, other in zip(kinds, got, want, strict=True):
                    if kind == "json" and one is not None:
                        one, other = one, json.dumps(other)
                    if kind == "timestamptz" and one is not None:
                        assert one.tzinfo is not None, f"{name} reads {one!r} without a zone"
                        one, other = (moment.astimezone(datetime.timezone.utc) for moment in (one, other))
                    assert same(one, other), f"seed {seed}, row {number}, {kind}: {name} reads {one!r}, not {other!r}"
        # By the statistics a reader knows which groups it need not look at.
        for n, kind in enumerate(kinds):
            one = next((row[n] for row in rows if row[n] is not None), None)
            if kind != "json" and one is not None:
                found = duckdb.connect().execute(f"SELECT count(*) FROM '{parquet}' WHERE c{n} = ?", [one]).fetchone()[0]
                assert found == sum(row[n] == one for row in rows), f"seed {seed}, {kind}: {found} rows have {one!r}"
        print(f"stated table {seed}: {len(rows)} rows of {len(kinds)} columns")


# What the columns of the stated tables are to each reader.
TYPES = {
    "pyarrow": ["time64[us]", "timestamp[us, tz=UTC]", "extension<arrow.uuid>", "extension<arrow.json>", "decimal128(1, 0)",
                "decimal128(9, 2)", "decimal128(18, 18)", "decimal128(19, 4)", "decimal128(38, 10)"],
    "DuckDB": ["TIME", "TIMESTAMP WITH TIME ZONE", "UUID", "JSON", "DECIMAL(1,0)", "DECIMAL(9,2)", "DECIMAL(18,18)",
               "DECIMAL(19,4)", "DECIMAL(38,10)"],
}


def random_tables(program, readers):
    kinds = ["int", "float", "bool", "date", "timestamp", "text"]
    for seed in range(TABLES):
        rng = random.Random(seed)
        columns = kinds + [rng.choice(kinds) for _ in range(rng.randrange(4))]
        rows = [[(value(rng, kind) or None) if kind == "text" else value(rng, kind) for kind in columns]
                for _ in range(rng.choice([3, 50, 3000]))]
        # A type is guessed by values: one of each is there, and no number that is whole by chance alone.
        first = [7, 0.5, True, datetime.date(2021, 1, 1), datetime.datetime(2021, 1, 1, 8), "text"]
        rows.insert(0, [first[kinds.index(kind)] for kind in columns])
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerow([f"c{n}" for n in range(len(columns))])
        writer.writerows([[text(v) for v in row] for row in rows])
        data = out.getvalue().encode()
        if rng.random() < 0.5:
            cut = rng.randrange(len(data))
            data = gzip.compress(data[:cut]) + gzip.compress(data[cut:])
        path = WORK / f"{seed}.csv"
        path.write_bytes(data)
        parquet = path.with_suffix(".parquet")
        run([program, "infer-parquet", path, parquet])
        for name, read in readers.items():
            back = read(parquet)
            assert len(back) == len(rows), f"seed {seed}: {name} reads {len(back)} rows of {len(rows)}"
            for number, (got, want) in enumerate(zip(back, rows)):
                for at, (one, other) in enumerate(zip(got, want, strict=True)):
                    assert same(one, other), f"seed {seed}, row {number}, column {at}: {name} reads {one!r}, not {other!r}"
        print(f"table {seed}: {len(rows)} rows of {len(columns)} columns")


def real_files(program, duckdb, folder):
    files = sorted(path for path in folder.rglob("*") if path.name.endswith((".csv", ".csv.gz")))
    if not files:
        sys.exit(f"{folder} has no CSV files")
    for path in files:
        parquet = WORK / (path.name + ".parquet")
        run([program, "infer-parquet", path, parquet])
        connection = duckdb.connect()
        names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM '{parquet}'").fetchall()]
        types = [row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM '{parquet}'").fetchall()]
        text = f"read_csv('{path}', header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"')"
        # The text, cast by DuckDB to what the file says that it is.
        cast = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in zip(names, types))
        csv, ours = f"SELECT {cast} FROM {text}", f"SELECT * FROM '{parquet}'"
        for one, other in [(csv, ours), (ours, csv)]:
            differ = connection.execute(f"SELECT count(*) FROM ({one} EXCEPT ALL {other})").fetchone()[0]
            assert differ == 0, f"{path}: {differ} rows differ"
        rows = connection.execute(f"SELECT count(*) FROM '{parquet}'").fetchone()[0]
        print(f"{path.name}: {rows} rows of {len(names)} columns")


def main():
    try:
        import duckdb
        import pyarrow.parquet as pq
    except ImportError:
        if "FLOW_READ_BACK" in os.environ:
            raise
        WORK.mkdir(parents=True, exist_ok=True)
        ready()
    WORK.mkdir(parents=True, exist_ok=True)
    folders = sys.argv[1:]
    if folders[:1] == ["--program"]:
        program, folders = pathlib.Path(folders[1]).resolve(), folders[2:]
    else:
        run(["cargo", "build", "-p", "flow-data", "--example", "measure"], cwd=ROOT)
        program = ROOT / "target" / "debug" / "examples" / "measure"

    def arrow(path):
        return [list(row.values()) for row in pq.read_table(path).to_pylist()]

    def duck(path):
        return [list(row) for row in duckdb.connect().execute(f"SELECT * FROM '{path}'").fetchall()]

    def arrow_types(path):
        return [str(kind) for kind in pq.read_schema(path).types]

    def duck_types(path):
        return [row[1] for row in duckdb.connect().execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]

    random_tables(program, {"pyarrow": arrow, "DuckDB": duck})
    stated_tables(program, {"pyarrow": (arrow, arrow_types), "DuckDB": (duck, duck_types)}, duckdb)
    for folder in folders or ([REAL] if REAL.is_dir() else []):
        real_files(program, duckdb, pathlib.Path(folder))


if __name__ == "__main__":
    main()
