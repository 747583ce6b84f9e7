//! The SQL of the writer. A transaction is one text, because each call costs a hop to the connection's thread; and a commit is
//! one statement, because each result costs a hop back.

/// A commit is one row that is inserted into this view: JSON arrays of arrays, which the trigger takes apart. A statement by
/// itself is a transaction, so all of it is done or nothing.
///
/// What the arrays hold is said at [`Round`](crate::store::sql::encode::Round). SQLite has no other way to raise an error from
/// SQL than a trigger. The `CASE`s are `apply_status` of the contract; CROSS JOIN keeps the order: for each key of `archive` one
/// look-up, never a scan.
pub(super) const COMMIT_VIEW: &str = "
    CREATE TEMP VIEW run_commit AS
        SELECT '' AS claims, '' AS states, '' AS archive, '' AS instances, '' AS xcoms;
    CREATE TEMP TRIGGER run_commit_insert INSTEAD OF INSERT ON run_commit BEGIN
        SELECT RAISE(ABORT, 'fenced')
        FROM json_each(NEW.claims) AS j LEFT JOIN dag_run AS r ON r.id = j.value->>0 AND r.epoch = j.value->>1
        WHERE r.id IS NULL;
        UPDATE dag_run SET
            state = j.value->>1,
            start_date = CASE WHEN j.value->>1 = 'running' THEN coalesce(start_date, j.value->>2) ELSE start_date END,
            end_date = CASE WHEN j.value->>1 IN ('success', 'failed') THEN j.value->>2 END
        FROM json_each(NEW.states) AS j WHERE dag_run.id = j.value->>0;
        INSERT INTO task_instance_history
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label)
        SELECT ti.run, ti.task_id, ti.map_index, ti.state, ti.try_number, ti.max_tries, ti.due, ti.start_date,
            ti.end_date, ti.cause, ti.report, ti.label
        FROM json_each(NEW.archive) AS j CROSS JOIN task_instance AS ti
        WHERE ti.run = j.value->>0 AND ti.task_id = j.value->>1 AND ti.map_index = j.value->>2 AND ti.try_number > 0
        ON CONFLICT DO NOTHING;
        INSERT INTO task_instance
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8,
            value->>9, value->>10, value->>11
        FROM json_each(NEW.instances) WHERE true
        ON CONFLICT (run, task_id, map_index) DO UPDATE SET
            state = excluded.state, try_number = excluded.try_number, max_tries = excluded.max_tries,
            due = excluded.due, start_date = excluded.start_date, end_date = excluded.end_date,
            cause = excluded.cause, report = excluded.report, label = excluded.label;
        INSERT INTO xcom (run, task_id, map_index, key, type_name, size, sha256, inline, timestamp)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
        FROM json_each(NEW.xcoms) WHERE true
        ON CONFLICT (run, task_id, map_index, key) DO UPDATE SET
            type_name = excluded.type_name, size = excluded.size, sha256 = excluded.sha256, inline = excluded.inline,
            timestamp = excluded.timestamp;
    END;";

/// A commit of one round.
pub(super) const COMMIT: &str =
    "INSERT INTO run_commit (claims, states, archive, instances, xcoms) VALUES (?, ?, ?, ?, ?)";

/// A commit of so many rounds, which are applied in their order.
pub(super) fn commit_of(rounds: usize) -> String {
    format!("{COMMIT}{}", ", (?, ?, ?, ?, ?)".repeat(rounds.saturating_sub(1)))
}

pub(super) const PUT_DAG: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag_version (hash, dag_id, json) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
    COMMIT";

pub(super) const SET_PAUSED: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag (dag_id, is_paused) VALUES (?, ?) ON CONFLICT (dag_id) DO UPDATE SET is_paused = excluded.is_paused;
    COMMIT";

pub(super) const CREATE_RUN: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag_run
        (dag_id, run_id, run_type, state, logical_date, interval_start, interval_end, run_after, start_date, end_date,
         conf, dag_version, owner, epoch)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) RETURNING id;
    COMMIT";

pub(super) const ACQUIRE_RUN: &str = "
    BEGIN IMMEDIATE;
    UPDATE dag_run SET epoch = epoch + 1, owner = ? WHERE id = ? RETURNING epoch;
    COMMIT";

pub(super) const DELETE_RUN: &str = "
    BEGIN IMMEDIATE;
    DELETE FROM dag_run WHERE id = ? AND epoch = ? RETURNING id;
    COMMIT";

/// Present epochs of these runs.
pub(super) const EPOCHS: &str = "SELECT r.id, r.epoch FROM json_each(?) AS j CROSS JOIN dag_run AS r ON r.id = j.value";
