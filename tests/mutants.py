#!/usr/bin/env python3
"""Breaks flow on purpose, one small change at a time, and sees that a test notices.

`just mutants` runs all of them, `python3 tests/mutants.py try_number` those whose name holds the word. Each is one
replacement of a text in a file, which must be there exactly once, and the command of the tests that should fail. The files
are as they were afterwards. A mutant that lives, or a text that is not there any more, is an error. With `--texts` the texts
alone are looked at, and nothing is changed: the test `tidy` does that, so that none goes stale unseen.
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORE = ["cargo", "test", "-p", "flow-core"]
RUNTIME = ["cargo", "test", "--workspace", "--test", "runtime"]
SIM = ["cargo", "test", "--workspace", "--test", "sim"]
CRASH = ["cargo", "test", "--workspace", "--test", "misbehave", "crash_points"]
KEEPS_FAILING = ["cargo", "test", "--workspace", "--test", "misbehave", "a_dag_that_keeps_failing"]

# name, file, the text, what it becomes, the tests that should notice
MUTANTS = [
    (
        "the SQLite store lets anything go on that has ended",
        "flow-runtime/src/store/sqlite/statements.rs",
        "WHEN task_instance.state IN ('queued', 'running') AND excluded.state <> 'restarting'",
        "WHEN true",
        RUNTIME,
    ),
    (
        "the Postgres store takes every state of a run for a legal one",
        "flow-runtime/migrations/postgres/functions.sql",
        "WHEN dag_run.state = s.value->>1 OR (dag_run.state IN",
        "WHEN true OR (dag_run.state IN",
        RUNTIME,
    ),
    (
        "two runs that fail at the same time do not see each other",
        "flow-runtime/migrations/postgres/functions.sql",
        "PERFORM pg_advisory_xact_lock(1718382455, d.key) FROM (",
        "PERFORM d.key FROM (",
        RUNTIME,
    ),
    (
        "a person's clear is no order",
        "flow-runtime/core/src/event.rs",
        "matches!(self, Event::Cleared(_) | Event::Marked(..) | Event::RunMarked(_))",
        "matches!(self, Event::Marked(..) | Event::RunMarked(_))",
        RUNTIME,
    ),
    (
        "a dispatch begins no new try_number",
        "flow-runtime/core/src/plan/apply.rs",
        "i.try_number = i.try_number.saturating_add(1);",
        "i.try_number = i.try_number.max(1);",
        SIM,
    ),
    (
        "a lost try is as if it had never been",
        "flow-runtime/core/src/plan/apply.rs",
        "Outcome::Lost => self.retry(of.key, i, self.now),",
        "Outcome::Lost => self.write(of.key, Instance { state: TaskState::None, try_number: i.try_number - 1, ..i }),",
        SIM,
    ),
    (
        "an end of an old try counts",
        "flow-runtime/core/src/plan/apply.rs",
        "(instance.state.is_in_flight() && instance.try_number == of.try_number).then_some(instance)",
        "instance.state.is_in_flight().then_some(instance)",
        CORE,
    ),
    (
        "who slept begins another try",
        "flow-runtime/core/src/plan/mod.rs",
        "if instance.state == TaskState::UpForRetry {",
        "if instance.state.is_waiting() {",
        CORE,
    ),
    (
        "bodies begin before their tries are durable",
        "flow-runtime/src/executor/step.rs",
        "        self.commit(&mut step).await?;\n        self.let_go();\n",
        "        self.launch(starts.clone());\n        self.commit(&mut step).await?;\n        self.let_go();\n        let starts = Vec::new();\n",
        SIM,
    ),
    (
        "values are not kept",
        "flow-runtime/src/executor/step.rs",
        "            if let Some(value) = kept.stored.take() {",
        "            if let Some(value) = kept.stored.take().filter(|_| step.now.timestamp() % 2 == 0) {",
        SIM,
    ),
    (
        "a tick counts as made before it is",
        "flow-runtime/src/scheduler/mod.rs",
        "            Err(EngineError::Store(error)) => return Err(error),\n            Err(EngineError::Io(",
        "            Err(EngineError::Store(_)) => return Ok(Made::Elsewhere),\n            Err(EngineError::Io(",
        SIM,
    ),
    (
        "what was under way when a process died is forgotten",
        "flow-runtime/src/executor/resume.rs",
        "let lost = state.in_flight();",
        "let lost = state.in_flight().into_iter().skip(1).collect::<Vec<_>>();",
        SIM,
    ),
    (
        "who waits for the run before waits for nothing",
        "flow-runtime/src/executor/past.rs",
        "if history.holds_back(task).await?.is_none() {",
        "if history.holds_back(task).await?.is_none_or(|_| true) {",
        SIM,
    ),
    (
        "a backfill has all of its runs at one time",
        "flow-runtime/src/scheduler/filling.rs",
        "            free -= usize::from(begun);\n",
        "            free -= usize::from(begun && row.spec.max_active_runs == 0);\n",
        SIM,
    ),
    (
        "what is owed counts as told before it is",
        "flow-runtime/src/notify/deliver.rs",
        "(Ok(channel), Ok(payload)) => channel.tell(&payload, &self.called).await,",
        "(Ok(channel), Ok(payload)) => { let _: (Channel, serde_json::Map<String, serde_json::Value>) = (channel, payload); Ok(()) }",
        SIM,
    ),
    (
        "an event that is waited for is forgotten by a restart",
        "flow-runtime/src/executor/run_loop.rs",
        "Awaited::of(engine.told.listen(), rows.awaited())",
        "Awaited::of(engine.told.listen(), rows.awaited().take(0))",
        RUNTIME + ["waits"],
    ),
    (
        "a clear leaves the steps",
        "flow-runtime/src/executor/rows.rs",
        "self.forgotten.extend(meant.map(|(key, _)| *key));",
        "self.forgotten.extend(meant.take(0).map(|(key, _)| *key));",
        RUNTIME + ["waits"],
    ),
    (
        "a step of a try that is over is kept",
        "flow-runtime/src/store/sqlite/statements.rs",
        "AND ti.try_number = j.value->>5 AND ti.state = 'running'",
        "AND true",
        RUNTIME + ["store"],
    ),
    (
        "an old epoch may commit",
        "flow-runtime/src/store/sqlite/statements.rs",
        "AND r.epoch = j.value->>1",
        "AND true",
        RUNTIME + ["store"],
    ),
    (
        "a takeover leaves the epoch",
        "flow-runtime/src/store/memory/tables.rs",
        "        self.stored.epoch.0 += 1;\n",
        "",
        RUNTIME + ["store"],
    ),
    (
        "a lease is not heeded by who takes a run",
        "flow-runtime/src/store/memory.rs",
        "if let Some(until) = taken.until.filter(|until| *until > term.now) {",
        "if let Some(until) = taken.until.filter(|until| *until > term.now + chrono::TimeDelta::days(1)) {",
        SIM,
    ),
    (
        "a run whose lease was lost is worked on",
        "flow-runtime/src/executor/keeper.rs",
        "self.shared.let_go(now + self.length / Keeper::MARGIN, why);",
        "self.shared.let_go(now - self.length, why);",
        SIM,
    ),
    (
        "no more runs than may be, but for another scheduler's",
        "flow-runtime/src/store/memory/tables.rs",
        "if of_dag().filter(counts).count() >= most as usize {",
        "if of_dag().filter(counts).count() > most as usize {",
        RUNTIME + ["store"],
    ),
    (
        "an order is carried out and stays",
        "flow-runtime/src/executor/step.rs",
        "settled: std::mem::take(&mut step.settled),",
        "settled: Vec::new(),",
        RUNTIME + ["orders"],
    ),
    (
        "what is below something that was cleared begins all the same",
        "flow-runtime/core/src/plan/settle.rs",
        "        self.take_back();\n",
        "",
        SIM,
    ),
    (
        "what was cleared may be as final as before",
        "flow-runtime/core/src/plan/apply.rs",
        "            self.run.status = RunStatus::Queued;\n",
        "",
        SIM,
    ),
    (
        "a run that a person ends goes on",
        "flow-runtime/core/src/plan/apply.rs",
        "            (self.run.status, self.run.ending) = (status, None);\n",
        "",
        SIM,
    ),
    (
        "a run that is ended while something is set up ends as its leaves did",
        "flow-runtime/core/src/plan/end.rs",
        "return run.ending.unwrap_or(by_leaves);",
        "return by_leaves;",
        CORE,
    ),
    (
        "that a run was ended is forgotten with its process",
        "flow-runtime/src/store/sqlite/statements.rs",
        "ending = j.value->>4",
        "ending = NULL",
        RUNTIME,
    ),
    (
        "work runs again with what was taken away",
        "flow-runtime/core/src/clear.rs",
        "any(|(_, i)| i.try_number > 0 && i.state.is_finished())",
        "any(|_| false)",
        CORE,
    ),
    (
        "a lease goes by the clock of whoever asks",
        "flow-runtime/src/store/memory.rs",
        "self.clock.as_ref().map_or(theirs, |clock| clock.now())",
        "self.clock.as_ref().map_or(theirs, |_| theirs)",
        SIM,
    ),
    (
        "a sensor never gives up",
        "flow-runtime/core/src/sensor.rs",
        "if now >= deadline {",
        "if now > deadline + TimeDelta::days(1) {",
        CORE,
    ),
    (
        "the slot of who waits is not given back",
        "flow-runtime/src/executor/step.rs",
        "                self.queue.release(end.of.key);",
        "                if !matches!(end.outcome, flow_core::Outcome::Deferred(_)) {\n"
        "                    self.queue.release(end.of.key);\n"
        "                }",
        RUNTIME + ["waits"],
    ),
    (
        "a pause is lost with the scheduler that was about to write it",
        "flow-runtime/src/executor/run_loop.rs",
        "(most > 0 && run.run_type.is_scheduled()).then_some(most)",
        "(most > 9 && run.run_type.is_scheduled()).then_some(most)",
        KEEPS_FAILING,
    ),
    (
        "a row is written and its commit is not whole",
        "flow-runtime/src/store/sqlite/statements.rs",
        "WHERE ti.run = j.value->>0 AND ti.task_id = j.value->>1 AND ti.map_index = j.value->>2 AND ti.try_number > 0",
        "WHERE false AND ti.run = j.value->>0",
        CRASH,
    ),
]


def notices(command):
    """Does a test fail? (A mutant that does not compile is a mistake in this list.)"""
    build = subprocess.run(command + ["--no-run"], cwd=ROOT, capture_output=True, text=True)
    if build.returncode != 0:
        sys.exit(f"it does not compile:\n{build.stderr[-3000:]}")
    # In a group of its own: a test that hangs is a child of cargo, and would go on without it.
    tests = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )

    def end():
        try:
            os.killpg(tests.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    patience = threading.Timer(900, end)
    patience.start()
    try:
        # The first that fails is enough. One that hangs, or a process that dies, ends the output without success.
        failed = any(line.startswith("test ") and line.rstrip().endswith("FAILED") for line in tests.stdout)
        return failed or tests.wait() != 0
    finally:
        patience.cancel()
        end()
        tests.wait()


def stale(mutants):
    """What is wrong with the texts, a line for each."""
    for name, file, old, _, _ in mutants:
        path = ROOT / file
        times = path.read_text().count(old) if path.exists() else None
        if times is None:
            yield f"{name}: there is no file {file}"
        elif times != 1:
            yield f"{name}: the text to be changed is {times} times in {file}"


def main():
    if sys.argv[1:] == ["--texts"]:
        sys.exit("\n".join(stale(MUTANTS)) or None)
    # Stopped from outside, it restores the file as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    wanted = [mutant for mutant in MUTANTS if all(word in mutant[0] for word in sys.argv[1:])]
    if subprocess.run(["git", "diff", "--quiet"], cwd=ROOT).returncode != 0:
        sys.exit("there are changes that are not committed: commit them first, for files are changed and restored")
    # Before the first of hours, and all at once.
    if wrong := list(stale(wanted)):
        sys.exit("\n".join(wrong))
    lives = []
    for name, file, old, new, command in wanted:
        path = ROOT / file
        text = path.read_text()
        try:
            path.write_text(text.replace(old, new))
            caught = notices(command)
        finally:
            path.write_text(text)
        print(f"{'caught' if caught else 'LIVES '}  {name}", flush=True)
        if not caught:
            lives.append(name)
    if lives:
        sys.exit(f"{len(lives)} of {len(wanted)} mutants live")


if __name__ == "__main__":
    main()
