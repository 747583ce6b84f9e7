"""What others do with the files and tables that flow-data moves; `speeds.py` runs it, each call a process of its own.

`python data_rivals.py NAME ARGUMENT..` does it once, and prints as JSON the seconds that it took, without its start and
imports, the seconds of CPU, and the peak of the process's memory in bytes.
"""

import json
import os
import sqlite3
import sys
import time

import measure

INTEGERS = "VendorID passenger_count RatecodeID PULocationID DOLocationID payment_type".split()
MOMENTS = "tpep_pickup_datetime tpep_dropoff_datetime".split()
NAMES = (
    "VendorID tpep_pickup_datetime tpep_dropoff_datetime passenger_count trip_distance RatecodeID store_and_fwd_flag "
    "PULocationID DOLocationID payment_type fare_amount extra mta_tax tip_amount tolls_amount improvement_surcharge "
    "total_amount congestion_surcharge"
).split()


def sql_type(name):
    if name in INTEGERS:
        return "bigint"
    return "timestamp" if name in MOMENTS else "text" if name == "store_and_fwd_flag" else "double precision"


def definition():
    """The columns of a table of trips."""
    return ", ".join(f'"{name}" {sql_type(name)}' for name in NAMES)


def duckdb_csv(csv):
    columns = ", ".join(f"'{name}': '{sql_type(name)}'" for name in NAMES)
    return f"read_csv('{csv}', header = true, columns = {{{columns}}})"


def duckdb():
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    return connection


def durable(path):
    """Writes it through to the disk, as flow-data does with its files and their folders."""
    for each in (path, os.path.dirname(path)):
        descriptor = os.open(each, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def arrow_csv(csv, whole):
    """What reads the file with stated types, as one table or as batches."""
    import pyarrow as pa
    import pyarrow.csv as pc

    kinds = {"bigint": pa.int64(), "timestamp": pa.timestamp("us"), "text": pa.string(), "double precision": pa.float64()}
    types = {name: kinds[sql_type(name)] for name in NAMES}
    convert = pc.ConvertOptions(column_types=types, strings_can_be_null=True)
    if whole:
        return lambda: pc.read_csv(csv, convert_options=convert)
    return lambda: pc.open_csv(csv, read_options=pc.ReadOptions(block_size=4 << 20), convert_options=convert)


def parquet_duckdb(csv, target):
    connection = duckdb()

    def work():
        connection.execute(f"COPY (SELECT * FROM {duckdb_csv(csv)}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        durable(target)

    return work


def parquet_pyarrow(csv, target):
    import pyarrow.parquet as pq

    read = arrow_csv(csv, whole=True)

    def work():
        pq.write_table(read(), target, compression="zstd")
        durable(target)

    return work


def parquet_pyarrow_streaming(csv, target):
    import pyarrow.parquet as pq

    stream = arrow_csv(csv, whole=False)

    def work():
        reader = stream()
        with pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
        durable(target)

    return work


def adbc_csv(csv, url):
    return adbc(arrow_csv(csv, whole=False), url)


def adbc_parquet(parquet, url):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def stream():
        file = pq.ParquetFile(parquet)
        return pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(1 << 17))

    return adbc(stream, url)


def adbc(stream, url):
    import adbc_driver_postgresql.dbapi as postgres

    def work():
        with postgres.connect(url) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("trips", stream(), mode="append")
            connection.commit()

    return work


def pandas_to_sql(csv, url, rows):
    """The way of the courses: `to_sql` as it is."""
    import pandas
    import sqlalchemy

    engine = sqlalchemy.create_engine(url.replace("postgres://", "postgresql+psycopg2://"))

    def work():
        frame = pandas.read_csv(csv, nrows=int(rows), parse_dates=MOMENTS)
        frame.to_sql("trips", engine, if_exists="append", index=False)

    return work


def sqlite_executemany(csv, database):
    """The standard library's way: one prepared statement, one transaction."""
    import csv as reader

    def typed(row):
        for at, kind in kinds:
            row[at] = kind(row[at]) if row[at] else None
        return row

    kinds = [
        (at, int if sql_type(name) == "bigint" else float if sql_type(name) == "double precision" else str)
        for at, name in enumerate(NAMES)
    ]

    def work():
        connection = sqlite3.connect(database)
        with connection, open(csv, newline="") as file:
            connection.execute(f"CREATE TABLE trips ({definition()})")
            rows = reader.reader(file)
            next(rows)
            connection.executemany(f"INSERT INTO trips VALUES ({', '.join('?' * len(NAMES))})", map(typed, rows))
        connection.close()

    return work


def copy(source, target):
    """A plain copy that outlives a power cut."""
    import shutil

    def work():
        shutil.copyfile(source, target)
        durable(target)

    return work


def same(csv, parquet):
    """DuckDB and pyarrow read the same rows in a Parquet file as DuckDB reads in the CSV file."""
    import pyarrow.parquet as pq

    connection = duckdb()
    flow, source = f"SELECT * FROM read_parquet('{parquet}')", f"SELECT * FROM {duckdb_csv(csv)}"

    def work():
        file = pq.ParquetFile(parquet)
        connection.register("arrow", file.read())
        for one, other in [(flow, source), (source, flow), (flow, "SELECT * FROM arrow")]:
            query = f"SELECT count(*) FROM ({one} EXCEPT ALL {other})"
            rows = connection.execute(query).fetchall()[0][0]
            assert rows == 0, f"{rows} rows differ: {one}, {other}"

    return work


WAYS = {
    way.__name__: way
    for way in (
        parquet_duckdb, parquet_pyarrow, parquet_pyarrow_streaming, adbc_csv, adbc_parquet, pandas_to_sql,
        sqlite_executemany, copy, same,
    )
}  # fmt: skip


def main():
    name, *arguments = sys.argv[1:]
    work = WAYS[name](*arguments)
    cpu, began = time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu, "peak": measure.peak()}))


if __name__ == "__main__":
    main()
