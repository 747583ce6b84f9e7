-- The event that a deferred instance waits for, if it waits for one.
ALTER TABLE task_instance ADD COLUMN event TEXT;
ALTER TABLE task_instance_history ADD COLUMN event TEXT;

-- What a task has finished of its work: a later try of it goes on behind that. Forgotten when the instance is cleared.
CREATE TABLE step (
    run        INTEGER NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT NOT NULL,
    map_index  INTEGER NOT NULL,
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,           -- JSON
    try_number INTEGER NOT NULL,        -- the try that finished it
    timestamp  INTEGER NOT NULL,
    PRIMARY KEY (run, task_id, map_index, name)
) STRICT, WITHOUT ROWID;

-- Something that tasks wait for has happened, or was told by a person. It happens once.
CREATE TABLE event (
    name      TEXT NOT NULL PRIMARY KEY,
    payload   TEXT NOT NULL,            -- JSON
    timestamp INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- An asset was made anew. It outlives the run that made it; a person's event has none.
CREATE TABLE asset_event (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    asset      TEXT NOT NULL,
    dag_id     TEXT,
    run_id     TEXT,
    task_id    TEXT,
    map_index  INTEGER,
    try_number INTEGER,
    extra      TEXT NOT NULL,           -- JSON object
    timestamp  INTEGER NOT NULL,
    -- The number of the run, which is never given twice: one that is made again under the id of one that was deleted tells anew.
    run        INTEGER,
    UNIQUE (run, task_id, map_index, try_number, asset)
) STRICT;

CREATE INDEX asset_event_by_asset ON asset_event (asset, id);

-- What must be told to somebody outside: written with what it tells of, and settled once it was told.
CREATE TABLE callback (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run        INTEGER NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT NOT NULL,           -- '' for the run itself
    map_index  INTEGER NOT NULL,
    try_number INTEGER NOT NULL,
    event      TEXT NOT NULL,           -- what happened: `failure`, `retry`, `success`, ..
    notifier   TEXT NOT NULL,           -- who is to be told, as JSON
    payload    TEXT NOT NULL,           -- JSON object
    state      TEXT NOT NULL,           -- `pending`, `success`, `failed`
    attempts   INTEGER NOT NULL,
    due        INTEGER NOT NULL,        -- not before
    error      TEXT,
    timestamp  INTEGER NOT NULL,
    UNIQUE (run, task_id, map_index, try_number, event, notifier, timestamp)
) STRICT;

CREATE INDEX callback_by_due ON callback (due) WHERE state = 'pending';

-- Until when its owner holds a run; NULL: it is free, or held by other means (a file lock).
ALTER TABLE dag_run ADD COLUMN lease_until INTEGER;
CREATE INDEX dag_run_by_lease ON dag_run (lease_until) WHERE lease_until IS NOT NULL;

-- How many runs of a DAG are unfinished is asked for each new one.
CREATE INDEX dag_run_unfinished ON dag_run (dag_id) WHERE state IN ('queued', 'running');

-- Which DAGs wait for which assets. From the commit of such a row on, every event of the asset is pending for the DAG.
CREATE TABLE asset_consumer (
    asset  TEXT NOT NULL,
    dag_id TEXT NOT NULL,
    PRIMARY KEY (asset, dag_id)
) STRICT, WITHOUT ROWID;

-- The events that a DAG has not had a run of yet. Making that run takes all of them away.
CREATE TABLE asset_pending (
    dag_id TEXT NOT NULL,
    asset  TEXT NOT NULL,
    event  INTEGER NOT NULL,
    PRIMARY KEY (dag_id, asset, event)
) STRICT, WITHOUT ROWID;

-- The events that a run was made for.
CREATE TABLE dag_run_asset_event (
    run   INTEGER NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    event INTEGER NOT NULL,
    PRIMARY KEY (run, event)
) STRICT, WITHOUT ROWID;

-- In the very transaction of the event, whoever writes it.
CREATE TRIGGER asset_event_is_pending AFTER INSERT ON asset_event BEGIN
    INSERT INTO asset_pending (dag_id, asset, event)
    SELECT dag_id, asset, NEW.id FROM asset_consumer WHERE asset = NEW.asset;
END;

-- What a person wants of a run that a process works on: it looks here, and settles what it has done in the commit that does it.
CREATE TABLE run_order (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    run       INTEGER NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    event     TEXT NOT NULL,            -- JSON: what the planner is to be told
    timestamp INTEGER NOT NULL
) STRICT;

-- Outputs that later runs take over, under the SHA-256 of all that they were made from. They outlive the runs that made them.
CREATE TABLE task_cache (
    key       TEXT NOT NULL PRIMARY KEY,
    dag_id    TEXT NOT NULL,            -- whose output it is
    run_id    TEXT NOT NULL,
    task_id   TEXT NOT NULL,
    map_index INTEGER NOT NULL,
    type_name TEXT NOT NULL,
    size      INTEGER NOT NULL,
    sha256    TEXT NOT NULL,
    inline    TEXT,                     -- JSON text of a small value; NULL: it lies in the XCom folder under its hash
    timestamp INTEGER NOT NULL          -- when it was made
) STRICT, WITHOUT ROWID;

-- Which builds of programs have made runs of which versions of DAGs.
CREATE TABLE dag_build (
    dag_version TEXT NOT NULL REFERENCES dag_version (hash),
    build       TEXT NOT NULL,            -- hexadecimal
    timestamp   INTEGER NOT NULL,         -- of the first of them
    PRIMARY KEY (dag_version, build)
) STRICT, WITHOUT ROWID;

-- The runs of a stretch of time that somebody has asked for.
CREATE TABLE backfill (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    dag_id          TEXT NOT NULL,
    first_date      INTEGER NOT NULL,
    last_date       INTEGER NOT NULL,
    reprocess       TEXT NOT NULL,      -- `none`, `failed`, `completed`
    backwards       INTEGER NOT NULL,
    max_active_runs INTEGER NOT NULL,
    conf            TEXT NOT NULL,      -- JSON object, without secrets
    state           TEXT NOT NULL,      -- `running`, `paused`, `cancelled`, `done`
    created         INTEGER NOT NULL,
    ended           INTEGER,
    owner           TEXT,               -- who works on it, for people
    lease_until     INTEGER                -- until when; NULL: nobody does, or it is held by a file lock
) STRICT;

CREATE INDEX backfill_open ON backfill (id) WHERE state IN ('running', 'paused');
