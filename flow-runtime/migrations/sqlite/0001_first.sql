-- Instants are microseconds since 1970 in UTC: small, exact, and sorted by their numbers (before 1970 below 0).
-- States and kinds are Airflow's words, so that a person can read the file with any SQLite tool.

CREATE TABLE dag_version (
    hash   TEXT NOT NULL PRIMARY KEY,   -- SHA-256 of `json`, hexadecimal
    dag_id TEXT NOT NULL,
    json   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dag_run (
    -- Never given twice: an old owner of a run that was deleted must not meet a new run under its number.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    dag_id         TEXT NOT NULL,
    run_id         TEXT NOT NULL,
    run_type       TEXT NOT NULL,
    state          TEXT NOT NULL,
    logical_date   INTEGER,
    interval_start INTEGER,
    interval_end   INTEGER,
    run_after      INTEGER NOT NULL,
    start_date     INTEGER,
    end_date       INTEGER,
    conf           TEXT NOT NULL,       -- JSON object
    dag_version    TEXT NOT NULL REFERENCES dag_version (hash),
    owner          TEXT,
    epoch          INTEGER NOT NULL,
    UNIQUE (dag_id, run_id),
    UNIQUE (dag_id, logical_date)       -- a DAG has one run about an instant; any number about none
) STRICT;

CREATE INDEX dag_run_by_run_after ON dag_run (run_after);
CREATE INDEX dag_run_by_dag ON dag_run (dag_id, run_after);

CREATE TABLE task_instance (
    run        INTEGER NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT NOT NULL,
    map_index  INTEGER NOT NULL,        -- -1: not mapped
    state      TEXT NOT NULL,
    try_number INTEGER NOT NULL,
    max_tries  INTEGER NOT NULL,
    due        INTEGER,
    start_date INTEGER,
    end_date   INTEGER,
    cause      TEXT,                    -- JSON object
    report     TEXT,                    -- JSON object; NULL when there is nothing to report
    label      TEXT,                    -- of a mapped instance: what it is about, like `month=2021-01`
    PRIMARY KEY (run, task_id, map_index)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_instance_history (
    run        INTEGER NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT NOT NULL,
    map_index  INTEGER NOT NULL,
    state      TEXT NOT NULL,
    try_number INTEGER NOT NULL,
    max_tries  INTEGER NOT NULL,
    due        INTEGER,
    start_date INTEGER,
    end_date   INTEGER,
    cause      TEXT,
    report     TEXT,
    label      TEXT,
    PRIMARY KEY (run, task_id, map_index, try_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE xcom (
    run       INTEGER NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id   TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    key       TEXT NOT NULL,
    type_name TEXT NOT NULL,
    size      INTEGER NOT NULL,         -- bytes, encoded
    sha256    TEXT NOT NULL,
    inline    TEXT,                     -- JSON text of a small value; NULL: it lies in the XCom folder under its hash
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (run, task_id, map_index, key)
) STRICT, WITHOUT ROWID;
