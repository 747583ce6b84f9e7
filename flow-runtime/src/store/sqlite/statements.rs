//! The SQL of the writer. A transaction is one text, because each call costs a hop to the connection's thread; and a commit is
//! one statement, because each result costs a hop back.

/// A commit is one row that is inserted into this view: JSON arrays of arrays, which the trigger takes apart. A statement by
/// itself is a transaction, so all of it is done or nothing.
///
/// What the arrays hold is said at [`Round`](crate::store::sql::encode::Round). SQLite has no other way to raise an error from
/// SQL than a trigger. The `CASE`s of dates are `apply_status` of the contract, those of states `may_pass_to`: whether a person has
/// ordered it is asked only where nothing else allows it. CROSS JOIN keeps the order: for each key of `archive` one
/// look-up, never a scan. A step of a try that is over is of no use to the next, and is left out.
///
/// A trigger has no answer: the runs whose failures have paused their DAGs, which were not paused, it leaves in a table of this
/// connection.
pub(super) const COMMIT_VIEW: &str = "
    CREATE TEMP TABLE has_paused (run INTEGER NOT NULL) STRICT;
    CREATE TEMP VIEW run_commit AS
        SELECT '' AS claims, '' AS states, '' AS archive, '' AS instances, '' AS xcoms, '' AS forgotten, '' AS steps,
            '' AS asset_events, '' AS callbacks, '' AS settled, '' AS cached;
    CREATE TEMP TRIGGER run_commit_insert INSTEAD OF INSERT ON run_commit BEGIN
        SELECT RAISE(ABORT, 'fenced')
        FROM json_each(NEW.claims) AS j LEFT JOIN dag_run AS r ON r.id = j.value->>0 AND r.epoch = j.value->>1
        WHERE r.id IS NULL;
        UPDATE dag_run SET
            state = CASE
                WHEN dag_run.state = j.value->>1 OR (dag_run.state IN ('queued', 'running') AND j.value->>1 <> 'queued')
                    OR (SELECT c.value->>3 FROM json_each(NEW.claims) AS c WHERE c.value->>0 = dag_run.id)
                THEN j.value->>1
                ELSE RAISE(ABORT, 'illegal: run ' || dag_run.id || ' would go from ' || dag_run.state || ' to ' || (j.value->>1))
            END,
            start_date = CASE
                WHEN j.value->>1 = 'running' AND (dag_run.state <> 'running' OR start_date IS NULL) THEN j.value->>2
                ELSE start_date
            END,
            end_date = CASE WHEN j.value->>1 IN ('success', 'failed') THEN j.value->>2 END,
            ending = j.value->>4
        FROM json_each(NEW.states) AS j WHERE dag_run.id = j.value->>0;
        INSERT INTO has_paused (run)
        SELECT min(r.id) FROM json_each(NEW.states) AS j CROSS JOIN dag_run AS r ON r.id = j.value->>0
        WHERE j.value->>3 <= (
            SELECT count(*) FROM dag_run AS f
            WHERE f.dag_id = r.dag_id AND f.run_type IN ('scheduled', 'asset_triggered') AND f.state = 'failed'
                AND (f.run_after, f.id) > (
                    SELECT s.run_after, s.id FROM dag_run AS s
                    WHERE s.dag_id = r.dag_id AND s.run_type IN ('scheduled', 'asset_triggered') AND s.state = 'success'
                    UNION ALL SELECT -9223372036854775808, 0 ORDER BY 1 DESC, 2 DESC LIMIT 1
                )
            HAVING max(f.id = r.id)
        ) AND r.dag_id NOT IN (SELECT dag_id FROM dag WHERE is_paused)
        GROUP BY r.dag_id;
        INSERT INTO dag (dag_id, is_paused)
        SELECT r.dag_id, 1 FROM has_paused CROSS JOIN dag_run AS r ON r.id = has_paused.run WHERE true
        ON CONFLICT (dag_id) DO UPDATE SET is_paused = 1;
        INSERT INTO task_instance_history
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label, event)
        SELECT ti.run, ti.task_id, ti.map_index, ti.state, ti.try_number, ti.max_tries, ti.due, ti.start_date,
            ti.end_date, ti.cause, ti.report, ti.label, ti.event
        FROM json_each(NEW.archive) AS j CROSS JOIN task_instance AS ti
        WHERE ti.run = j.value->>0 AND ti.task_id = j.value->>1 AND ti.map_index = j.value->>2 AND ti.try_number > 0
        ON CONFLICT DO NOTHING;
        INSERT INTO task_instance
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label, event)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8,
            value->>9, value->>10, value->>11, value->>12
        FROM json_each(NEW.instances) WHERE true
        ON CONFLICT (run, task_id, map_index) DO UPDATE SET
            state = CASE
                WHEN task_instance.state IN ('queued', 'running') AND excluded.state <> 'restarting'
                    OR task_instance.state = excluded.state OR excluded.state = 'removed'
                    OR (task_instance.state NOT IN ('success', 'failed', 'skipped', 'upstream_failed')
                        AND excluded.state IN
                            ('none', 'scheduled', 'queued', 'running', 'failed', 'skipped', 'upstream_failed'))
                    OR (task_instance.state = 'restarting' AND excluded.state = 'up_for_retry')
                    OR (SELECT c.value->>3 FROM json_each(NEW.claims) AS c WHERE c.value->>0 = excluded.run)
                THEN excluded.state
                ELSE RAISE(ABORT, 'illegal: instance ' || excluded.task_id || '[' || excluded.map_index || '] of run '
                    || excluded.run || ' would go from ' || task_instance.state || ' to ' || excluded.state)
            END,
            try_number = excluded.try_number, max_tries = excluded.max_tries,
            due = excluded.due, start_date = excluded.start_date, end_date = excluded.end_date,
            cause = excluded.cause, report = excluded.report, label = excluded.label, event = excluded.event;
        INSERT INTO xcom (run, task_id, map_index, key, type_name, size, sha256, inline, timestamp)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
        FROM json_each(NEW.xcoms) WHERE true
        ON CONFLICT (run, task_id, map_index, key) DO UPDATE SET
            type_name = excluded.type_name, size = excluded.size, sha256 = excluded.sha256, inline = excluded.inline,
            timestamp = excluded.timestamp;
        DELETE FROM step WHERE (run, task_id, map_index) IN
            (SELECT value->>0, value->>1, value->>2 FROM json_each(NEW.forgotten));
        INSERT INTO step (run, task_id, map_index, name, value, try_number, timestamp)
        SELECT ti.run, ti.task_id, ti.map_index, j.value->>3, j.value->>4, ti.try_number, j.value->>6
        FROM json_each(NEW.steps) AS j CROSS JOIN task_instance AS ti
        WHERE ti.run = j.value->>0 AND ti.task_id = j.value->>1 AND ti.map_index = j.value->>2
            AND ti.try_number = j.value->>5 AND ti.state = 'running'
        ON CONFLICT DO NOTHING;
        INSERT INTO asset_event (run, asset, dag_id, run_id, task_id, map_index, try_number, extra, timestamp)
        SELECT r.id, j.value->>1, r.dag_id, r.run_id, j.value->>2, j.value->>3, j.value->>4, j.value->>5, j.value->>6
        FROM json_each(NEW.asset_events) AS j CROSS JOIN dag_run AS r ON r.id = j.value->>0 WHERE true
        ON CONFLICT DO NOTHING;
        INSERT INTO callback
            (run, task_id, map_index, try_number, event, notifier, payload, state, attempts, due, timestamp)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, 'pending', 0, value->>7, value->>7
        FROM json_each(NEW.callbacks) WHERE true
        ON CONFLICT DO NOTHING;
        DELETE FROM run_order WHERE (run, id) IN (SELECT value->>0, value->>1 FROM json_each(NEW.settled));
        INSERT INTO task_cache
            (key, dag_id, run_id, task_id, map_index, type_name, size, sha256, inline, timestamp)
        SELECT j.value->>1, r.dag_id, r.run_id, j.value->>2, j.value->>3, j.value->>4, j.value->>5, j.value->>6, j.value->>7,
            j.value->>8
        FROM json_each(NEW.cached) AS j CROSS JOIN dag_run AS r ON r.id = j.value->>0 WHERE true
        ON CONFLICT (key) DO UPDATE SET
            dag_id = excluded.dag_id, run_id = excluded.run_id, task_id = excluded.task_id, map_index = excluded.map_index,
            type_name = excluded.type_name, size = excluded.size, sha256 = excluded.sha256, inline = excluded.inline,
            timestamp = excluded.timestamp;
    END;";

/// The runs whose failures the latest commit has answered with a pause. Asked of a commit alone that may pause something.
pub(super) const HAS_PAUSED: &str = "DELETE FROM has_paused RETURNING run";

/// A commit of one round.
pub(super) const COMMIT: &str = "INSERT INTO run_commit \
     (claims, states, archive, instances, xcoms, forgotten, steps, asset_events, callbacks, settled, cached) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A commit of so many rounds, which are applied in their order.
pub(super) fn commit_of(rounds: usize) -> String {
    format!("{COMMIT}{}", ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)".repeat(rounds.saturating_sub(1)))
}

pub(super) const PUT_DAG: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag_version (hash, dag_id, json) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
    COMMIT";

pub(super) const PUT_BUILD: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag_build (dag_version, build, timestamp) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
    COMMIT";

pub(super) const PUT_BACKFILL: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO backfill
        (dag_id, first_date, last_date, reprocess, backwards, max_active_runs, conf, state, created)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'running', ?) RETURNING id;
    COMMIT";

pub(super) const SETTLE_BACKFILL: &str = "
    BEGIN IMMEDIATE;
    UPDATE backfill SET state = ?, ended = ? WHERE id = ? AND state = ? RETURNING 1;
    COMMIT";

pub(super) const HOLD_BACKFILL: &str = "
    BEGIN IMMEDIATE;
    UPDATE backfill SET owner = ?, lease_until = ?
    WHERE id = ? AND state = 'running' AND (lease_until IS NULL OR lease_until <= ? OR owner = ?) RETURNING 1;
    COMMIT";

pub(super) const SET_PAUSED: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag (dag_id, is_paused) VALUES (?, ?) ON CONFLICT (dag_id) DO UPDATE SET is_paused = excluded.is_paused;
    COMMIT";

pub(super) const PUT_EVENT: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO event (name, payload, timestamp) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1;
    COMMIT";

pub(super) const SETTLE_CALLBACK: &str = "
    BEGIN IMMEDIATE;
    UPDATE callback SET state = ?, attempts = ?, due = ?, error = ?
    WHERE id = ? AND attempts = ? AND state = 'pending' RETURNING 1;
    COMMIT";

pub(super) const FORGET_CACHED: &str = "
    BEGIN IMMEDIATE;
    DELETE FROM task_cache WHERE timestamp < ? AND coalesce(dag_id = ?, true) RETURNING 1;
    COMMIT";

pub(super) const PUT_ORDER: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO run_order (run, event, timestamp) VALUES (?, ?, ?) RETURNING id;
    COMMIT";

/// The terms are looked at first. Where they do not hold there is no row of the new run, but one that names the term. Values: those
/// of the run; those of the terms (`after`, `seen`, `backfill`, `max_active`); all but the last again, to say which does not hold; those of
/// taking what is pending.
///
/// `changes()` is what the latest statement that changes something has changed: 0 where no run was made. A run that is made for
/// events takes one at least, so the last statement knows by the one before it.
pub(super) const MAKE_RUN: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO dag_run
        (dag_id, run_id, run_type, state, logical_date, interval_start, interval_end, run_after, start_date, end_date,
         conf, dag_version, owner, epoch, lease_until)
    SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?
    WHERE (? OR ? IS (SELECT id FROM dag_run WHERE dag_id = ? AND run_type = 'scheduled'
                      ORDER BY run_after DESC, id DESC LIMIT 1))
        AND (SELECT count(*) FROM asset_pending WHERE dag_id = ? AND event IN (SELECT value FROM json_each(?)))
            = json_array_length(?)
        AND (? IS NULL OR EXISTS (SELECT 1 FROM backfill WHERE id = ? AND state = 'running' AND owner = ?))
        AND coalesce((SELECT count(*) FROM dag_run WHERE dag_id = ? AND state IN ('queued', 'running')
                      AND run_id NOT IN (SELECT value FROM json_each(?))) < ?, true)
    RETURNING id, NULL;
    SELECT NULL, CASE
        WHEN NOT (? OR ? IS (SELECT id FROM dag_run WHERE dag_id = ? AND run_type = 'scheduled'
                             ORDER BY run_after DESC, id DESC LIMIT 1)) THEN 'overtaken'
        WHEN (SELECT count(*) FROM asset_pending WHERE dag_id = ? AND event IN (SELECT value FROM json_each(?)))
            <> json_array_length(?) THEN 'events_taken'
        WHEN ? IS NOT NULL AND NOT EXISTS (SELECT 1 FROM backfill WHERE id = ? AND state = 'running' AND owner = ?)
            THEN 'backfill_lost'
        ELSE 'too_many' END
    WHERE changes() = 0;
    INSERT INTO dag_run_asset_event (run, event)
    SELECT r.id, p.event FROM dag_run AS r CROSS JOIN asset_pending AS p ON p.dag_id = r.dag_id
    WHERE changes() > 0 AND ? <> '[]' AND r.run_id = ? AND r.dag_id = ?;
    DELETE FROM asset_pending WHERE changes() > 0 AND dag_id = ?;
    COMMIT";

pub(super) const PUT_ASSET_EVENT: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO asset_event (asset, extra, timestamp) VALUES (?, ?, ?) RETURNING id;
    COMMIT";

/// Values: the DAGs, the pairs; the same; the pairs.
pub(super) const AWAIT_ASSETS: &str = "
    BEGIN IMMEDIATE;
    DELETE FROM asset_consumer WHERE dag_id IN (SELECT value FROM json_each(?))
        AND (dag_id, asset) NOT IN (SELECT value->>0, value->>1 FROM json_each(?));
    DELETE FROM asset_pending WHERE dag_id IN (SELECT value FROM json_each(?))
        AND (dag_id, asset) NOT IN (SELECT value->>0, value->>1 FROM json_each(?));
    INSERT INTO asset_consumer (dag_id, asset) SELECT value->>0, value->>1 FROM json_each(?) WHERE true
        ON CONFLICT DO NOTHING;
    COMMIT";

/// Values: the instant; the DAG, or NULL, twice.
pub(super) const FORGET_ASSET_EVENTS: &str = "
    BEGIN IMMEDIATE;
    DELETE FROM asset_event AS a WHERE timestamp < ? AND (? IS NULL OR dag_id = ?)
        AND EXISTS (SELECT 1 FROM asset_event AS later WHERE later.asset = a.asset AND later.id > a.id)
        AND id NOT IN (SELECT event FROM asset_pending) AND id NOT IN (SELECT event FROM dag_run_asset_event)
    RETURNING 1;
    COMMIT";

pub(super) const ACQUIRE_RUN: &str = "
    BEGIN IMMEDIATE;
    UPDATE dag_run SET epoch = epoch + 1, owner = ?, lease_until = NULL WHERE id = ? RETURNING epoch;
    COMMIT";

/// Its epoch; or who holds it, and until when.
pub(super) const TAKE_RUN: &str = "
    BEGIN IMMEDIATE;
    UPDATE dag_run SET epoch = epoch + 1, owner = ?, lease_until = ?
    WHERE id = ? AND (lease_until IS NULL OR lease_until <= ?) RETURNING epoch, NULL, NULL;
    SELECT NULL, owner, lease_until FROM dag_run WHERE id = ? AND changes() = 0;
    COMMIT";

/// For each claim one look-up, never a scan.
pub(super) const RENEW: &str = "
    BEGIN IMMEDIATE;
    UPDATE dag_run SET lease_until = ? WHERE id IN (
        SELECT r.id FROM json_each(?) AS j CROSS JOIN dag_run AS r ON r.id = j.value->>0
        WHERE r.epoch = j.value->>1 AND r.lease_until > ?
    ) RETURNING id;
    COMMIT";

pub(super) const RELEASE: &str = "
    BEGIN IMMEDIATE;
    UPDATE dag_run SET lease_until = NULL WHERE id = ? AND epoch = ?;
    COMMIT";

pub(super) const DELETE_RUN: &str = "
    BEGIN IMMEDIATE;
    DELETE FROM dag_run WHERE id = ? AND epoch = ? RETURNING id;
    COMMIT";

/// Who wants to start something is a row that is inserted into this view, with its parts as
/// [`NewSlots`](crate::store::sql::encode::NewSlots) has them: what came before it counts. Parts of limits that bound what is in flight
/// are left out. A trigger has no answer: whom it refuses it leaves in a table of this connection.
///
/// Of a limit of so many starts, that start counts from which on there are so many: it must be out of the span before there may be
/// another.
pub(super) const SLOT_VIEW: &str = "
    CREATE TEMP TABLE slot_refused (place INTEGER NOT NULL, name TEXT NOT NULL, again INTEGER NOT NULL) STRICT;
    CREATE TEMP VIEW slot_ask AS SELECT 0 AS place, '' AS parts, 0 AS moment, 0 AS remembered;
    CREATE TEMP TRIGGER slot_ask_insert INSTEAD OF INSERT ON slot_ask BEGIN
        INSERT INTO slot_refused (place, name, again)
        SELECT NEW.place, p.value->>0, (
            SELECT s.timestamp FROM (
                SELECT timestamp, row_number() OVER (ORDER BY timestamp DESC) AS nth FROM slot_start
                WHERE name = p.value->>0 AND timestamp > NEW.moment - (p.value->>3)
            ) AS s WHERE s.nth = p.value->>2
        ) + (p.value->>3) - NEW.moment + 1 AS again
        FROM json_each(NEW.parts) AS p
        WHERE p.value->>3 IS NOT NULL AND p.value->>2 <= (
            SELECT count(*) FROM slot_start WHERE name = p.value->>0 AND timestamp > NEW.moment - (p.value->>3)
        ) LIMIT 1;
        INSERT INTO slot_start (name, timestamp, until)
        SELECT p.value->>0, NEW.moment, NEW.moment + max(p.value->>3, NEW.remembered) FROM json_each(NEW.parts) AS p
        WHERE p.value->>3 IS NOT NULL AND NEW.place NOT IN (SELECT place FROM slot_refused);
    END;";

/// What comes after BEGIN IMMEDIATE, when it is known what time it is. Values: the moment, twice; what is asked; the moment; the
/// moment; how long starts are remembered; what is asked.
///
/// A start of the future is one from before the clock was set back: nobody knows when that was, but it was before now. Without that
/// such a start would count until the clock is there again.
pub(super) const TAKE_SLOTS: &str = "
    UPDATE slot_start SET until = until - timestamp + ?, timestamp = ?
    WHERE name IN (SELECT p.value->>0 FROM json_each(?) AS a, json_each(a.value, '$[5]') AS p) AND timestamp > ?;
    DELETE FROM slot_start WHERE until <= ?;
    INSERT INTO slot_ask (place, parts, moment, remembered) SELECT key, value->'$[5]', ?, ? FROM json_each(?);
    DELETE FROM slot_refused RETURNING place, name, again;
    COMMIT";

/// Present epochs of these runs.
pub(super) const EPOCHS: &str = "SELECT r.id, r.epoch FROM json_each(?) AS j CROSS JOIN dag_run AS r ON r.id = j.value";
