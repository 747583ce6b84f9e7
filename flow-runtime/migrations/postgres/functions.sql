-- What the store asks for. All of it is put into a database that has another schema, or an earlier edition of this file. An older
-- program may work with it meanwhile: so what it asks for stays, and answers it as before. What cannot comes with a step beside this
-- file, and the older program is refused.

-- Which edition of this file a database has: one more with each change.
CREATE OR REPLACE FUNCTION flow_edition() RETURNS BIGINT LANGUAGE sql IMMUTABLE AS $$ SELECT 5::BIGINT $$;

-- The present instant, in the form of all instants here.
CREATE OR REPLACE FUNCTION flow_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT $$;

-- Each of the functions below is asked for by one text: so whoever is stopped half-way leaves no lock behind. `name` is that of
-- the call, as of a commit: asked once more after its answer was lost, nothing is done twice.

-- Refuses a commit that would bring something where it cannot come by itself.
CREATE OR REPLACE FUNCTION flow_illegal(what TEXT, old TEXT, new TEXT) RETURNS TEXT LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION '% would go from % to %', what, old, new USING ERRCODE = 'FL002';
END $$;

-- A commit: rounds of eleven arrays each (claims, states, archive, instances, xcoms, forgotten, steps, asset events, callbacks,
-- settled orders, cached outputs), whose elements are rows as arrays; see the trigger of the SQLite store, which does the same. A
-- claim is [run, epoch, name of the commit, is it a person's order]: a run whose latest commit has that name is left alone, since this is asked once more
-- after the answer was lost on the way. Answers with the runs whose failures have paused their DAGs, which were not paused.
DO $$
BEGIN
    -- It once answered nothing.
    IF (SELECT prorettype = 'void'::REGTYPE FROM pg_proc WHERE oid = to_regprocedure('flow_commit(json)')) THEN
        DROP FUNCTION flow_commit(JSON);
    END IF;
END $$;
CREATE OR REPLACE FUNCTION flow_commit(rounds JSON) RETURNS SETOF BIGINT LANGUAGE plpgsql AS $$
DECLARE
    part JSON;
    done BIGINT[];
BEGIN
    -- In the order of their numbers, so that two commits never wait for each other.
    PERFORM 1 FROM dag_run
    WHERE id IN (SELECT (c.value->>0)::BIGINT FROM json_array_elements(rounds) AS r, json_array_elements(r.value->0) AS c)
    ORDER BY id FOR UPDATE;
    SELECT coalesce(array_agg(DISTINCT dag_run.id), '{}') INTO done
    FROM json_array_elements(rounds) AS r, json_array_elements(r.value->0) AS c
    JOIN dag_run ON dag_run.id = (c.value->>0)::BIGINT AND dag_run.latest_commit = (c.value->>2)::BIGINT;
    IF EXISTS (
        SELECT 1 FROM json_array_elements(rounds) AS r, json_array_elements(r.value->0) AS c
        LEFT JOIN dag_run ON dag_run.id = (c.value->>0)::BIGINT AND dag_run.epoch = (c.value->>1)::BIGINT
        WHERE dag_run.id IS NULL AND (c.value->>0)::BIGINT <> ALL (done)
    ) THEN
        RAISE EXCEPTION 'fenced' USING ERRCODE = 'FL001';
    END IF;
    UPDATE dag_run SET latest_commit = (c.value->>2)::BIGINT
    FROM json_array_elements(rounds) AS r, json_array_elements(r.value->0) AS c
    WHERE dag_run.id = (c.value->>0)::BIGINT AND dag_run.id <> ALL (done);
    -- Of two runs that fail at the same time, the second sees the first.
    PERFORM pg_advisory_xact_lock(1718382455, d.key) FROM (
        SELECT DISTINCT hashtext(dag_run.dag_id) AS key
        FROM json_array_elements(rounds) AS r, json_array_elements(r.value->1) AS s
        JOIN dag_run ON dag_run.id = (s.value->>0)::BIGINT
        WHERE s.value->>3 IS NOT NULL ORDER BY 1
    ) AS d;
    FOR part IN SELECT r.value FROM json_array_elements(rounds) AS r LOOP
        UPDATE dag_run SET
            state = CASE
                WHEN dag_run.state = s.value->>1 OR (dag_run.state IN ('queued', 'running') AND s.value->>1 <> 'queued')
                    OR (SELECT (c.value->>3)::BOOLEAN FROM json_array_elements(part->0) AS c
                        WHERE (c.value->>0)::BIGINT = dag_run.id)
                THEN s.value->>1
                ELSE flow_illegal('run ' || dag_run.id, dag_run.state, s.value->>1)
            END,
            start_date = CASE
                WHEN s.value->>1 = 'running' AND (dag_run.state <> 'running' OR start_date IS NULL) THEN (s.value->>2)::BIGINT
                ELSE start_date
            END,
            end_date = CASE WHEN s.value->>1 IN ('success', 'failed') THEN (s.value->>2)::BIGINT END,
            ending = s.value->>4
        FROM json_array_elements(part->1) AS s
        WHERE dag_run.id = (s.value->>0)::BIGINT AND dag_run.id <> ALL (done);
        -- Of each DAG that comes to a pause, the run that does it: one of the failures since the latest success, all of which count.
        RETURN QUERY WITH fatal AS (
            SELECT DISTINCT ON (r.dag_id) r.dag_id, r.id
            FROM json_array_elements(part->1) AS s JOIN dag_run AS r ON r.id = (s.value->>0)::BIGINT
            -- A CASE, so that nothing is counted for a run that pauses nothing.
            WHERE r.id <> ALL (done) AND CASE WHEN s.value->>3 IS NULL THEN FALSE ELSE (s.value->>3)::BIGINT <= (
                SELECT count(*) FROM dag_run AS f
                WHERE f.dag_id = r.dag_id AND f.run_type IN ('scheduled', 'asset_triggered') AND f.state = 'failed'
                    AND (f.run_after, f.id) > (
                        SELECT g.run_after, g.id FROM dag_run AS g
                        WHERE g.dag_id = r.dag_id AND g.run_type IN ('scheduled', 'asset_triggered') AND g.state = 'success'
                        UNION ALL SELECT -9223372036854775808, 0 ORDER BY 1 DESC, 2 DESC LIMIT 1
                    )
                HAVING bool_or(f.id = r.id)
            ) END
            ORDER BY r.dag_id, r.id
        ), paused AS (
            INSERT INTO dag (dag_id, is_paused) SELECT fatal.dag_id, 1 FROM fatal ORDER BY 1
            ON CONFLICT (dag_id) DO UPDATE SET is_paused = 1 WHERE dag.is_paused = 0
            RETURNING dag.dag_id
        )
        SELECT fatal.id FROM fatal JOIN paused ON paused.dag_id = fatal.dag_id;
        -- For each one look-up (LIMIT keeps it apart): a plan that was made while the table was small would scan it for good.
        INSERT INTO task_instance_history
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label, event)
        SELECT ti.run, ti.task_id, ti.map_index, ti.state, ti.try_number, ti.max_tries, ti.due, ti.start_date,
            ti.end_date, ti.cause, ti.report, ti.label, ti.event
        FROM json_array_elements(part->2) AS a CROSS JOIN LATERAL (
            SELECT * FROM task_instance AS present
            WHERE present.run = (a.value->>0)::BIGINT AND present.task_id = a.value->>1
                AND present.map_index = (a.value->>2)::BIGINT
            LIMIT 1
        ) AS ti
        WHERE ti.try_number > 0 AND ti.run <> ALL (done)
        ON CONFLICT DO NOTHING;
        INSERT INTO task_instance
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label, event)
        SELECT (i.value->>0)::BIGINT, i.value->>1, (i.value->>2)::BIGINT, i.value->>3, (i.value->>4)::BIGINT,
            (i.value->>5)::BIGINT, (i.value->>6)::BIGINT, (i.value->>7)::BIGINT, (i.value->>8)::BIGINT,
            i.value->>9, i.value->>10, i.value->>11, i.value->>12
        FROM json_array_elements(part->3) AS i WHERE (i.value->>0)::BIGINT <> ALL (done)
        ON CONFLICT (run, task_id, map_index) DO UPDATE SET
            state = CASE
                WHEN task_instance.state IN ('queued', 'running') AND excluded.state <> 'restarting'
                    OR task_instance.state = excluded.state OR excluded.state = 'removed'
                    OR (task_instance.state NOT IN ('success', 'failed', 'skipped', 'upstream_failed')
                        AND excluded.state IN
                            ('none', 'scheduled', 'queued', 'running', 'failed', 'skipped', 'upstream_failed'))
                    OR (task_instance.state = 'restarting' AND excluded.state = 'up_for_retry')
                    OR (SELECT (c.value->>3)::BOOLEAN FROM json_array_elements(part->0) AS c
                        WHERE (c.value->>0)::BIGINT = excluded.run)
                THEN excluded.state
                ELSE flow_illegal('instance ' || excluded.task_id || '[' || excluded.map_index || '] of run ' || excluded.run,
                    task_instance.state, excluded.state)
            END,
            try_number = excluded.try_number, max_tries = excluded.max_tries,
            due = excluded.due, start_date = excluded.start_date, end_date = excluded.end_date,
            cause = excluded.cause, report = excluded.report, label = excluded.label, event = excluded.event;
        DELETE FROM slot USING json_array_elements(part->3) AS i
        WHERE slot.run = (i.value->>0)::BIGINT AND slot.task_id = i.value->>1 AND slot.map_index = (i.value->>2)::BIGINT
            AND i.value->>3 NOT IN ('queued', 'running', 'restarting') AND slot.run <> ALL (done);
        -- Of one key the last: a row cannot be written twice by one statement.
        INSERT INTO xcom (run, task_id, map_index, key, type_name, size, sha256, inline, timestamp)
        SELECT DISTINCT ON (1, 2, 3, 4) (x.value->>0)::BIGINT, x.value->>1, (x.value->>2)::BIGINT, x.value->>3, x.value->>4,
            (x.value->>5)::BIGINT, x.value->>6, x.value->>7, (x.value->>8)::BIGINT
        FROM json_array_elements(part->4) WITH ORDINALITY AS x (value, place)
        WHERE (x.value->>0)::BIGINT <> ALL (done)
        ORDER BY 1, 2, 3, 4, x.place DESC
        ON CONFLICT (run, task_id, map_index, key) DO UPDATE SET
            type_name = excluded.type_name, size = excluded.size, sha256 = excluded.sha256, inline = excluded.inline,
            timestamp = excluded.timestamp;
        IF json_array_length(part->5) > 0 THEN
            DELETE FROM step USING json_array_elements(part->5) AS f
            WHERE step.run = (f.value->>0)::BIGINT AND step.task_id = f.value->>1 AND step.map_index = (f.value->>2)::BIGINT
                AND step.run <> ALL (done);
        END IF;
        -- What a try that is over has finished is of no use to the next.
        INSERT INTO step (run, task_id, map_index, name, value, try_number, timestamp)
        SELECT ti.run, ti.task_id, ti.map_index, s.value->>3, s.value->>4, ti.try_number, (s.value->>6)::BIGINT
        FROM json_array_elements(part->6) AS s CROSS JOIN LATERAL (
            SELECT * FROM task_instance AS present
            WHERE present.run = (s.value->>0)::BIGINT AND present.task_id = s.value->>1
                AND present.map_index = (s.value->>2)::BIGINT
            LIMIT 1
        ) AS ti
        WHERE ti.try_number = (s.value->>5)::BIGINT AND ti.state = 'running' AND ti.run <> ALL (done)
        ON CONFLICT DO NOTHING;
        INSERT INTO asset_event (run, asset, dag_id, run_id, task_id, map_index, try_number, extra, timestamp)
        SELECT r.id, a.value->>1, r.dag_id, r.run_id, a.value->>2, (a.value->>3)::BIGINT, (a.value->>4)::BIGINT, a.value->>5,
            (a.value->>6)::BIGINT
        FROM json_array_elements(part->7) WITH ORDINALITY AS a (value, place)
            JOIN dag_run AS r ON r.id = (a.value->>0)::BIGINT
        WHERE r.id <> ALL (done)
        ORDER BY a.place
        ON CONFLICT DO NOTHING;
        INSERT INTO callback
            (run, task_id, map_index, try_number, event, notifier, payload, state, attempts, due, timestamp)
        -- Due at once, whatever the clock of its writer says.
        SELECT (c.value->>0)::BIGINT, c.value->>1, (c.value->>2)::BIGINT, (c.value->>3)::BIGINT, c.value->>4, c.value->>5,
            c.value->>6, 'pending', 0, least((c.value->>7)::BIGINT, flow_now()), (c.value->>7)::BIGINT
        FROM json_array_elements(part->8) WITH ORDINALITY AS c (value, place)
        WHERE (c.value->>0)::BIGINT <> ALL (done)
        ORDER BY c.place
        ON CONFLICT DO NOTHING;
        DELETE FROM run_order USING json_array_elements(part->9) AS o
        WHERE run_order.run = (o.value->>0)::BIGINT AND run_order.id = (o.value->>1)::BIGINT AND run_order.run <> ALL (done);
        -- In the order of their keys, so that two commits never wait for each other.
        INSERT INTO task_cache (key, dag_id, run_id, task_id, map_index, type_name, size, sha256, inline, timestamp)
        SELECT DISTINCT ON (1) c.value->>1, r.dag_id, r.run_id, c.value->>2, (c.value->>3)::BIGINT, c.value->>4,
            (c.value->>5)::BIGINT, c.value->>6, c.value->>7, (c.value->>8)::BIGINT
        FROM json_array_elements(part->10) WITH ORDINALITY AS c (value, place)
            JOIN dag_run AS r ON r.id = (c.value->>0)::BIGINT
        WHERE r.id <> ALL (done)
        ORDER BY 1, c.place DESC
        ON CONFLICT (key) DO UPDATE SET
            dag_id = excluded.dag_id, run_id = excluded.run_id, task_id = excluded.task_id, map_index = excluded.map_index,
            type_name = excluded.type_name, size = excluded.size, sha256 = excluded.sha256, inline = excluded.inline,
            timestamp = excluded.timestamp;
    END LOOP;
END $$;

-- Makes a run, if its terms hold, which are looked at under a lock of its DAG; one for events of assets (`seen`) takes all that is
-- pending for its DAG. Answers with its number; or with none, and the term that does not hold.
CREATE OR REPLACE FUNCTION flow_make_run(new JSON, name BIGINT, OUT id BIGINT, OUT refused TEXT) LANGUAGE plpgsql AS $$
BEGIN
    SELECT r.id INTO id FROM dag_run AS r
    WHERE r.dag_id = new->>'dag_id' AND r.run_id = new->>'run_id' AND r.latest_commit = name;
    IF FOUND THEN
        RETURN;
    END IF;
    IF (new->>'chained')::BOOLEAN OR new->>'max_active' IS NOT NULL OR json_array_length(new->'seen') > 0 THEN
        -- "flow" in ASCII. What is read below is what the one before has committed.
        PERFORM pg_advisory_xact_lock(1718382455, hashtext(new->>'dag_id'));
    END IF;
    IF (new->>'chained')::BOOLEAN AND (new->>'after')::BIGINT IS DISTINCT FROM (
        SELECT r.id FROM dag_run AS r WHERE r.dag_id = new->>'dag_id' AND r.run_type = 'scheduled'
        ORDER BY r.run_after DESC, r.id DESC LIMIT 1
    ) THEN
        refused := 'overtaken';
        RETURN;
    END IF;
    -- Locked: a DAG that is told to wait for them no more does so before this run is made, or after.
    IF (
        SELECT count(*) FROM (
            SELECT 1 FROM asset_pending AS p
            WHERE p.dag_id = new->>'dag_id' AND p.event IN (SELECT s::BIGINT FROM json_array_elements_text(new->'seen') AS s)
            ORDER BY p.event FOR UPDATE
        ) AS seen
    ) <> json_array_length(new->'seen') THEN
        refused := 'events_taken';
        RETURN;
    END IF;
    IF new->>'backfill' IS NOT NULL THEN
        -- Locked: whoever takes or stops it does so before this run is made, or after, and then finds it.
        PERFORM 1 FROM backfill AS b
        WHERE b.id = (new->>'backfill')::BIGINT AND b.state = 'running' AND b.owner = new->>'owner' FOR SHARE;
        IF NOT FOUND THEN
            refused := 'backfill_lost';
            RETURN;
        END IF;
    END IF;
    IF (
        SELECT count(*) FROM dag_run AS r
        WHERE r.dag_id = new->>'dag_id' AND r.state IN ('queued', 'running')
            AND r.run_id NOT IN (SELECT * FROM json_array_elements_text(new->'not_counted'))
    ) >= (new->>'max_active')::BIGINT THEN
        refused := 'too_many';
        RETURN;
    END IF;
    INSERT INTO dag_run AS r
        (dag_id, run_id, run_type, state, logical_date, interval_start, interval_end, run_after, start_date, end_date,
         conf, dag_version, owner, epoch, latest_commit, lease_until)
    VALUES (
        new->>'dag_id', new->>'run_id', new->>'run_type', new->>'state', (new->>'logical_date')::BIGINT,
        (new->>'interval_start')::BIGINT, (new->>'interval_end')::BIGINT, (new->>'run_after')::BIGINT,
        (new->>'start_date')::BIGINT, (new->>'end_date')::BIGINT, new->>'conf', new->>'dag_version', new->>'owner', 1, name,
        flow_now() + (new->>'lease')::BIGINT)
    RETURNING r.id INTO id;
    IF json_array_length(new->'seen') > 0 THEN
        WITH taken AS (DELETE FROM asset_pending AS p WHERE p.dag_id = new->>'dag_id' RETURNING p.event)
        INSERT INTO dag_run_asset_event (run, event) SELECT flow_make_run.id, taken.event FROM taken;
    END IF;
    IF new->>'lease' IS NULL THEN
        -- Whoever runs what nobody works on hears of it at once, if it listens.
        PERFORM pg_notify('flow_runs', '');
    END IF;
END $$;

-- Takes a run that is free, or whose lease has ended. Answers with its epoch; or with who holds it, and until when.
CREATE OR REPLACE FUNCTION flow_take_run(run BIGINT, taker TEXT, length BIGINT, name BIGINT)
RETURNS TABLE (new_epoch BIGINT, holder TEXT, until BIGINT) LANGUAGE plpgsql AS $$
DECLARE
    found_run dag_run%ROWTYPE;
BEGIN
    SELECT * INTO found_run FROM dag_run WHERE id = run FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF found_run.latest_commit = name THEN
        RETURN QUERY SELECT found_run.epoch, NULL::TEXT, NULL::BIGINT;
    ELSIF found_run.lease_until > flow_now() THEN
        RETURN QUERY SELECT NULL::BIGINT, found_run.owner, found_run.lease_until;
    ELSE
        RETURN QUERY UPDATE dag_run
        SET epoch = epoch + 1, owner = taker, lease_until = flow_now() + length, latest_commit = name
        WHERE id = run RETURNING epoch, NULL::TEXT, NULL::BIGINT;
        DELETE FROM slot WHERE slot.run = found_run.id;
    END IF;
END $$;

-- Ends the lease of a run of this epoch.
CREATE OR REPLACE FUNCTION flow_release(run BIGINT, held_epoch BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    UPDATE dag_run SET lease_until = NULL WHERE id = run AND epoch = held_epoch;
    IF FOUND THEN
        PERFORM pg_notify('flow_runs', '');
    END IF;
END $$;

-- Renews the leases of these runs, [run, epoch] each, as far as they have not ended, and answers with those.
CREATE OR REPLACE FUNCTION flow_renew(held JSON, length BIGINT) RETURNS SETOF BIGINT LANGUAGE plpgsql AS $$
BEGIN
    -- In the order of their numbers, as a commit does, so that the two never wait for each other.
    PERFORM 1 FROM dag_run
    WHERE id IN (SELECT (h.value->>0)::BIGINT FROM json_array_elements(held) AS h) ORDER BY id FOR UPDATE;
    RETURN QUERY UPDATE dag_run SET lease_until = flow_now() + length
    FROM json_array_elements(held) AS h
    WHERE dag_run.id = (h.value->>0)::BIGINT AND dag_run.epoch = (h.value->>1)::BIGINT AND dag_run.lease_until > flow_now()
    RETURNING dag_run.id;
END $$;

-- Takes parts in shared limits for instances of runs: `asks` are [run, epoch, task_id, map_index, weight, parts], a part is [name,
-- units, most, span]; a span makes it a limit of starts. Of each that is refused answers with its place, the limit, and how long to
-- wait. All times are in microseconds; see store/slots.rs for who is first. Asked once more after its answer was lost, an instance that
-- has its parts keeps them.
CREATE OR REPLACE FUNCTION flow_take_slots(asks JSON, asker TEXT, patience BIGINT, ticket BIGINT, remembered BIGINT)
RETURNS TABLE (place BIGINT, refused_by TEXT, again BIGINT) LANGUAGE plpgsql AS $$
DECLARE
    ask JSON;
    part JSON;
    this_run BIGINT;
    this_epoch BIGINT;
    this_weight BIGINT;
    moment BIGINT;
    used BIGINT;
    mine BIGINT;
BEGIN
    -- In one order, so that two who ask never wait for each other. "slot" in ASCII.
    PERFORM pg_advisory_xact_lock(1936486260, l.key) FROM (
        SELECT DISTINCT hashtext(p.value->>0) AS key
        FROM json_array_elements(asks) AS a, json_array_elements(a.value->5) AS p ORDER BY 1
    ) AS l;
    moment := flow_now();
    -- A start of the future is one from before the clock was set back: nobody knows when that was, but it was before now.
    UPDATE slot_start AS s SET timestamp = moment
    FROM json_array_elements(asks) AS a, json_array_elements(a.value->5) AS p
    WHERE p.value->>3 IS NOT NULL AND s.name = p.value->>0 AND s.timestamp > moment;
    FOR ask, place IN SELECT a.value, a.ordinality - 1 FROM json_array_elements(asks) WITH ORDINALITY AS a LOOP
        this_run := (ask->>0)::BIGINT;
        this_epoch := (ask->>1)::BIGINT;
        this_weight := (ask->>4)::BIGINT;
        CONTINUE WHEN EXISTS (
            SELECT 1 FROM slot AS s WHERE s.run = this_run AND s.task_id = ask->>2 AND s.map_index = (ask->>3)::BIGINT
                AND s.epoch = this_epoch
        );
        refused_by := NULL;
        FOR part IN SELECT p.value FROM json_array_elements(ask->5) AS p LOOP
            IF part->>3 IS NOT NULL THEN
                -- The start that must be out of the span before there may be another.
                SELECT s.timestamp + (part->>3)::BIGINT - moment + 1 INTO again FROM slot_start AS s
                WHERE s.name = part->>0 AND s.timestamp > moment - (part->>3)::BIGINT
                ORDER BY s.timestamp DESC OFFSET (part->>2)::BIGINT - 1 LIMIT 1;
                CONTINUE WHEN NOT FOUND;
            ELSE
                SELECT coalesce(sum(s.units), 0) INTO used
                FROM slot AS s JOIN dag_run AS r ON r.id = s.run AND r.epoch = s.epoch AND r.lease_until > moment
                WHERE s.name = part->>0;
                mine := NULL;
                SELECT t.since INTO mine FROM slot_ticket AS t
                WHERE t.name = part->>0 AND t.owner = asker AND t.until > moment;
                CONTINUE WHEN used + (part->>1)::BIGINT <= (part->>2)::BIGINT AND NOT EXISTS (
                    SELECT 1 FROM slot_ticket AS t
                    WHERE t.name = part->>0 AND t.owner <> asker AND t.until > moment
                        AND used + t.units <= (part->>2)::BIGINT
                        AND (t.weight > this_weight OR (t.weight = this_weight AND (mine IS NULL OR t.since < mine)))
                );
                again := patience;
            END IF;
            refused_by := part->>0;
            EXIT;
        END LOOP;
        IF refused_by IS NULL THEN
            INSERT INTO slot (name, run, task_id, map_index, epoch, units)
            SELECT p.value->>0, this_run, ask->>2, (ask->>3)::BIGINT, this_epoch,
                CASE WHEN p.value->>3 IS NULL THEN (p.value->>1)::BIGINT ELSE 0 END
            FROM json_array_elements(ask->5) AS p
            ON CONFLICT (name, run, task_id, map_index) DO UPDATE SET epoch = excluded.epoch, units = excluded.units
            WHERE slot.epoch < excluded.epoch;
            DELETE FROM slot_start AS s USING json_array_elements(ask->5) AS p
            WHERE s.name = p.value->>0 AND s.timestamp < moment - greatest((p.value->>3)::BIGINT, remembered);
            INSERT INTO slot_start (name, timestamp)
            SELECT p.value->>0, moment FROM json_array_elements(ask->5) AS p WHERE p.value->>3 IS NOT NULL;
            DELETE FROM slot_ticket AS t USING json_array_elements(ask->5) AS p
            WHERE t.name = p.value->>0 AND (t.owner = asker OR t.until <= moment);
        ELSE
            INSERT INTO slot_ticket AS t (name, owner, weight, units, since, until)
            VALUES (refused_by, asker, this_weight, (part->>1)::BIGINT, moment, moment + greatest(ticket, again))
            ON CONFLICT (name, owner) DO UPDATE SET weight = excluded.weight, units = excluded.units, until = excluded.until,
                since = CASE WHEN t.until > moment THEN t.since ELSE excluded.since END;
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

-- Says which assets DAGs wait for: the DAGs as JSON array, the pairs as JSON array of [dag_id, asset].
CREATE OR REPLACE FUNCTION flow_await_assets(dags JSON, pairs JSON) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM asset_consumer WHERE dag_id IN (SELECT * FROM json_array_elements_text(dags))
        AND (dag_id, asset) NOT IN (SELECT p.value->>0, p.value->>1 FROM json_array_elements(pairs) AS p);
    DELETE FROM asset_pending WHERE dag_id IN (SELECT * FROM json_array_elements_text(dags))
        AND (dag_id, asset) NOT IN (SELECT p.value->>0, p.value->>1 FROM json_array_elements(pairs) AS p);
    INSERT INTO asset_consumer (dag_id, asset)
    SELECT p.value->>0, p.value->>1 FROM json_array_elements(pairs) AS p ON CONFLICT DO NOTHING;
END $$;
