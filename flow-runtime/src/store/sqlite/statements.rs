//! The SQL of the writer. A transaction is one text of several statements, because each call costs a hop to the
//! connection's thread. Parameters are plain `?`, which run on across the statements of a text.

use std::sync::LazyLock;

/// A commit names its runs by inserting into this view. The trigger refuses all of the transaction when an epoch is not
/// the present one (SQLite has no other way to raise an error from SQL), and moves the state of the run.
///
/// The `CASE`s are `apply_status` of the contract.
pub(super) const GUARD: &str = "
    CREATE TEMP VIEW run_commit AS SELECT 0 AS run, 0 AS epoch, '' AS state, 0 AS at;
    CREATE TEMP TRIGGER run_commit_guard INSTEAD OF INSERT ON run_commit BEGIN
        SELECT RAISE(ABORT, 'fenced')
        WHERE NOT EXISTS (SELECT 1 FROM dag_run WHERE id = NEW.run AND epoch = NEW.epoch);
        UPDATE dag_run SET
            state = NEW.state,
            start_date = CASE WHEN NEW.state = 'running' THEN coalesce(start_date, NEW.at) ELSE start_date END,
            end_date = CASE WHEN NEW.state IN ('success', 'failed') THEN NEW.at END
        WHERE id = NEW.run AND NEW.state IS NOT NULL;
    END;";

pub(super) const BEGIN: &str = "BEGIN IMMEDIATE;";

pub(super) const COMMIT: &str = "COMMIT";

/// `[run, epoch, state or null, at or null]`.
pub(super) const FENCE: &str = "
    INSERT INTO run_commit (run, epoch, state, at)
    SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?);";

/// `[run, task_id, map_index]`. CROSS JOIN keeps the order: for each key one look-up, never a scan of the instances.
pub(super) const ARCHIVE: &str = "
    INSERT INTO task_instance_history
        (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label)
    SELECT ti.run, ti.task_id, ti.map_index, ti.state, ti.try_number, ti.max_tries, ti.due, ti.start_date, ti.end_date,
        ti.cause, ti.report, ti.label
    FROM json_each(?) AS j CROSS JOIN task_instance AS ti
    WHERE ti.run = j.value->>0 AND ti.task_id = j.value->>1 AND ti.map_index = j.value->>2 AND ti.try_number > 0
    ON CONFLICT DO NOTHING;";

/// `[run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label]`.
pub(super) const INSTANCES: &str = "
    INSERT INTO task_instance
        (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9,
        value->>10, value->>11
    FROM json_each(?) WHERE true
    ON CONFLICT (run, task_id, map_index) DO UPDATE SET
        state = excluded.state, try_number = excluded.try_number, max_tries = excluded.max_tries, due = excluded.due,
        start_date = excluded.start_date, end_date = excluded.end_date, cause = excluded.cause, report = excluded.report,
        label = excluded.label;";

/// `[run, task_id, map_index, key, type_name, size, sha256, inline, timestamp]`.
pub(super) const XCOMS: &str = "
    INSERT INTO xcom (run, task_id, map_index, key, type_name, size, sha256, inline, timestamp)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
    FROM json_each(?) WHERE true
    ON CONFLICT (run, task_id, map_index, key) DO UPDATE SET
        type_name = excluded.type_name, size = excluded.size, sha256 = excluded.sha256, inline = excluded.inline,
        timestamp = excluded.timestamp;";

pub(super) const PUT_DAG: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag_version (hash, dag_id, json) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
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

/// Present epochs of these runs.
pub(super) const EPOCHS: &str = "SELECT r.id, r.epoch FROM json_each(?) AS j CROSS JOIN dag_run AS r ON r.id = j.value";

/// The parts of a commit after its fence, in the order in which they are applied.
pub(super) const PARTS: [&str; 3] = [ARCHIVE, INSTANCES, XCOMS];

/// Whole transactions of one round, by which parts they have (bit `i` for `PARTS[i]`): few texts, each prepared once.
pub(super) static ROUNDS: LazyLock<[String; 8]> = LazyLock::new(|| {
    std::array::from_fn(|mask| {
        let mut sql = BEGIN.to_owned();
        push_round(&mut sql, mask);
        sql + COMMIT
    })
});

/// Adds the statements of one round with these parts.
pub(super) fn push_round(sql: &mut String, mask: usize) {
    sql.push_str(FENCE);
    for (bit, part) in PARTS.iter().enumerate() {
        if mask & (1 << bit) != 0 {
            sql.push_str(part);
        }
    }
}
