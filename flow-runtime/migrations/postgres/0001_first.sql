-- The tables of the SQLite store, and the function that a commit is. Instants are microseconds since 1970 in UTC: exact,
-- and the same in both stores. To read one: SELECT to_timestamp(start_date / 1e6).
-- Names are compared by their bytes, so that lists have one order whatever the locale of the database.

CREATE TABLE dag_version (
    hash   TEXT COLLATE "C" NOT NULL PRIMARY KEY,   -- SHA-256 of `json`, hexadecimal
    dag_id TEXT COLLATE "C" NOT NULL,
    json   TEXT NOT NULL
);

CREATE TABLE dag_run (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id         TEXT COLLATE "C" NOT NULL,
    run_id         TEXT COLLATE "C" NOT NULL,
    run_type       TEXT NOT NULL,
    state          TEXT NOT NULL,
    logical_date   BIGINT,
    interval_start BIGINT,
    interval_end   BIGINT,
    run_after      BIGINT NOT NULL,
    start_date     BIGINT,
    end_date       BIGINT,
    conf           TEXT NOT NULL,                   -- JSON object
    dag_version    TEXT COLLATE "C" NOT NULL REFERENCES dag_version (hash),
    owner          TEXT,
    epoch          BIGINT NOT NULL,
    latest_commit  BIGINT,                          -- so that one whose answer was lost is not done twice
    CONSTRAINT dag_run_by_run_id UNIQUE (dag_id, run_id),
    CONSTRAINT dag_run_by_logical_date UNIQUE (dag_id, logical_date)
);

CREATE INDEX dag_run_by_run_after ON dag_run (run_after);
CREATE INDEX dag_run_by_dag ON dag_run (dag_id, run_after);

CREATE TABLE task_instance (
    run        BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT COLLATE "C" NOT NULL,
    map_index  BIGINT NOT NULL,                     -- -1: not mapped
    state      TEXT NOT NULL,
    try_number BIGINT NOT NULL,
    max_tries  BIGINT NOT NULL,
    due        BIGINT,
    start_date BIGINT,
    end_date   BIGINT,
    cause      TEXT,                                -- JSON object
    report     TEXT,                                -- JSON object; NULL when there is nothing to report
    label      TEXT,                                -- of a mapped instance: what it is about, like `month=2021-01`
    PRIMARY KEY (run, task_id, map_index)
) WITH (fillfactor = 70);                           -- a row is rewritten at every step: let it stay on its page

CREATE TABLE task_instance_history (
    run        BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT COLLATE "C" NOT NULL,
    map_index  BIGINT NOT NULL,
    state      TEXT NOT NULL,
    try_number BIGINT NOT NULL,
    max_tries  BIGINT NOT NULL,
    due        BIGINT,
    start_date BIGINT,
    end_date   BIGINT,
    cause      TEXT,
    report     TEXT,
    label      TEXT,
    PRIMARY KEY (run, task_id, map_index, try_number)
);

CREATE TABLE xcom (
    run       BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id   TEXT COLLATE "C" NOT NULL,
    map_index BIGINT NOT NULL,
    key       TEXT COLLATE "C" NOT NULL,
    type_name TEXT NOT NULL,
    size      BIGINT NOT NULL,                      -- bytes, encoded
    sha256    TEXT NOT NULL,
    inline    TEXT,                                 -- JSON text of a small value; NULL: it lies in the XCom folder under its hash
    timestamp BIGINT NOT NULL,
    PRIMARY KEY (run, task_id, map_index, key)
);

-- A commit: rounds of five arrays each (claims, states, archive, instances, xcoms), whose elements are rows as arrays; see
-- the trigger of the SQLite store, which does the same. A claim is [run, epoch, name of the commit]: a run whose latest commit
-- has that name is left alone, since this is asked once more after the answer was lost on the way.
CREATE FUNCTION flow_commit(rounds JSON) RETURNS VOID LANGUAGE plpgsql AS $$
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
    FOR part IN SELECT r.value FROM json_array_elements(rounds) AS r LOOP
        UPDATE dag_run SET
            state = s.value->>1,
            start_date = CASE WHEN s.value->>1 = 'running' THEN coalesce(start_date, (s.value->>2)::BIGINT) ELSE start_date END,
            end_date = CASE WHEN s.value->>1 IN ('success', 'failed') THEN (s.value->>2)::BIGINT END
        FROM json_array_elements(part->1) AS s
        WHERE dag_run.id = (s.value->>0)::BIGINT AND dag_run.id <> ALL (done);
        INSERT INTO task_instance_history
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label)
        SELECT ti.run, ti.task_id, ti.map_index, ti.state, ti.try_number, ti.max_tries, ti.due, ti.start_date,
            ti.end_date, ti.cause, ti.report, ti.label
        FROM json_array_elements(part->2) AS a JOIN task_instance AS ti
            ON ti.run = (a.value->>0)::BIGINT AND ti.task_id = a.value->>1 AND ti.map_index = (a.value->>2)::BIGINT
        WHERE ti.try_number > 0 AND ti.run <> ALL (done)
        ON CONFLICT DO NOTHING;
        INSERT INTO task_instance
            (run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label)
        SELECT (i.value->>0)::BIGINT, i.value->>1, (i.value->>2)::BIGINT, i.value->>3, (i.value->>4)::BIGINT,
            (i.value->>5)::BIGINT, (i.value->>6)::BIGINT, (i.value->>7)::BIGINT, (i.value->>8)::BIGINT,
            i.value->>9, i.value->>10, i.value->>11
        FROM json_array_elements(part->3) AS i WHERE (i.value->>0)::BIGINT <> ALL (done)
        ON CONFLICT (run, task_id, map_index) DO UPDATE SET
            state = excluded.state, try_number = excluded.try_number, max_tries = excluded.max_tries,
            due = excluded.due, start_date = excluded.start_date, end_date = excluded.end_date,
            cause = excluded.cause, report = excluded.report, label = excluded.label;
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
    END LOOP;
END $$;
