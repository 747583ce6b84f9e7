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
