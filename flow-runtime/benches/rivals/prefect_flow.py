"""The shapes that flow's `bench` measures, as flows of Prefect.

The flow runs in this process; beside it runs the server that Prefect itself starts when there is no other, on
127.0.0.1, and keeps the states of all runs in SQLite. A flow returns before the states of its tasks are on record:
the client sends them as events, and the server writes them a moment later. So what is measured is when the flow
returns, and then, as `settling`, how much longer it takes until every task is on record.
"""

import os
import sqlite3
import time

import measure

# No settings of whoever runs this, and no proxy: everything stays on this machine.
for name in list(os.environ):
    if name.startswith("PREFECT_") or name.lower().endswith("_proxy"):
        del os.environ[name]

args = measure.arguments(__doc__)
RECORDER = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_"
os.environ.update({
    "PREFECT_HOME": str(args.folder),
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    # It can take long on a busy machine to start the server and make its database.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # Nothing is sent to anyone.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # No log of every step, neither printed nor sent to the server.
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    # The states of tasks are written a hundred at once, and at least each second. By default it is one at once, and
    # then wide:1000 takes some half a minute more until it is on record.
    RECORDER + "BATCH_SIZE": "100",
    RECORDER + "FLUSH_INTERVAL": "1",
    # Automations and the log of events are not needed to run a flow or to keep its states.
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
})

# Prefect reads its settings when it is imported.
import asyncio  # noqa: E402

from prefect import flow, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402


# Nothing is looked up in a cache, and no result is written to a file.
@task(cache_policy=NO_CACHE, persist_result=False)
async def following(numbers):
    return max(numbers, default=0) + 1


# Async flows and tasks: as plain functions the chain takes a second at least, and `.map` on threads takes longer
# than `gather`.
@flow
async def chain(size):
    number = await following([])
    for _ in range(size - 1):
        number = await following([number])
    return number


@flow
async def wide(size):
    first = await following([])
    middle = await asyncio.gather(*(following([first]) for _ in range(size)))
    return await following(middle)


def on_record():
    """Number of tasks that the server has on record as done."""
    database = sqlite3.connect(f"file:{args.folder / 'prefect.db'}?mode=ro", uri=True)
    try:
        return database.execute("SELECT count(*) FROM task_run WHERE state_type = 'COMPLETED'").fetchone()[0]
    finally:
        database.close()


def main():
    kind, size = args.shape
    body, tasks, expected = (chain, size, size) if kind == "chain" else (wide, size + 2, 3)
    # What an earlier process has left in the same folder does not count.
    before = on_record() if (args.folder / "prefect.db").exists() else 0

    def run():
        result = asyncio.run(body(size))
        if result != expected:
            raise SystemExit(f"{kind}:{size} gave {result}: it is no measure")

    def settled():
        nonlocal before
        before += tasks
        end = time.monotonic() + 120
        while on_record() < before:
            if time.monotonic() > end:
                raise SystemExit(f"only {on_record()} of {before} tasks came on record: it is no measure")
            time.sleep(0.02)

    measure.repeat(args, run, settled)


if __name__ == "__main__":
    main()
