-- The event that a deferred instance waits for, if it waits for one.
ALTER TABLE task_instance ADD COLUMN event TEXT;
ALTER TABLE task_instance_history ADD COLUMN event TEXT;

-- What a task has finished of its work: a later try of it goes on behind that. Forgotten when the instance is cleared.
CREATE TABLE step (
    run        BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT COLLATE "C" NOT NULL,
    map_index  BIGINT NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    value      TEXT NOT NULL,           -- JSON
    try_number BIGINT NOT NULL,        -- the try that finished it
    timestamp  BIGINT NOT NULL,
    PRIMARY KEY (run, task_id, map_index, name)
);

-- Something that tasks wait for has happened, or was told by a person. It happens once.
CREATE TABLE event (
    name      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    payload   TEXT NOT NULL,            -- JSON
    timestamp BIGINT NOT NULL
);

-- An asset was made anew. It outlives the run that made it; a person's event has none.
CREATE TABLE asset_event (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset      TEXT COLLATE "C" NOT NULL,
    dag_id     TEXT COLLATE "C",
    run_id     TEXT COLLATE "C",
    task_id    TEXT COLLATE "C",
    map_index  BIGINT,
    try_number BIGINT,
    extra      TEXT NOT NULL,           -- JSON object
    timestamp  BIGINT NOT NULL,
    -- The number of the run, which is never given twice: one that is made again under the id of one that was deleted tells anew.
    run        BIGINT,
    UNIQUE (run, task_id, map_index, try_number, asset)
);

CREATE INDEX asset_event_by_asset ON asset_event (asset, id);

-- What must be told to somebody outside: written with what it tells of, and settled once it was told.
CREATE TABLE callback (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run        BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id    TEXT COLLATE "C" NOT NULL,           -- '' for the run itself
    map_index  BIGINT NOT NULL,
    try_number BIGINT NOT NULL,
    event      TEXT NOT NULL,           -- what happened: `failure`, `retry`, `success`, ..
    notifier   TEXT NOT NULL,           -- who is to be told, as JSON
    payload    TEXT NOT NULL,           -- JSON object
    state      TEXT NOT NULL,           -- `pending`, `success`, `failed`
    attempts   BIGINT NOT NULL,
    due        BIGINT NOT NULL,        -- not before
    error      TEXT,
    timestamp  BIGINT NOT NULL,
    UNIQUE (run, task_id, map_index, try_number, event, notifier, timestamp)
);

CREATE INDEX callback_by_due ON callback (due) WHERE state = 'pending';

-- Until when its owner holds a run, by this database's clock; NULL: it is free.
ALTER TABLE dag_run ADD COLUMN lease_until BIGINT;
CREATE INDEX dag_run_by_lease ON dag_run (lease_until) WHERE lease_until IS NOT NULL;

-- How many runs of a DAG are unfinished is asked for each new one.
CREATE INDEX dag_run_unfinished ON dag_run (dag_id) WHERE state IN ('queued', 'running');

-- Which DAGs wait for which assets. From the commit of such a row on, every event of the asset is pending for the DAG.
CREATE TABLE asset_consumer (
    asset  TEXT COLLATE "C" NOT NULL,
    dag_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (asset, dag_id)
);

-- The events that a DAG has not had a run of yet. Making that run takes all of them away.
CREATE TABLE asset_pending (
    dag_id TEXT COLLATE "C" NOT NULL,
    asset  TEXT COLLATE "C" NOT NULL,
    event  BIGINT NOT NULL,
    PRIMARY KEY (dag_id, asset, event)
);

-- The events that a run was made for.
CREATE TABLE dag_run_asset_event (
    run   BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    event BIGINT NOT NULL,
    PRIMARY KEY (run, event)
);

-- In the very transaction of the event, whoever writes it.
CREATE FUNCTION flow_asset_event_is_pending() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO asset_pending (dag_id, asset, event)
    SELECT dag_id, asset, NEW.id FROM asset_consumer WHERE asset = NEW.asset;
    IF FOUND THEN
        -- Whoever makes runs hears of it at once, if it listens.
        PERFORM pg_notify('flow_runs', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER asset_event_is_pending AFTER INSERT ON asset_event
    FOR EACH ROW EXECUTE FUNCTION flow_asset_event_is_pending();

-- What a person wants of a run that a process works on: it looks here, and settles what it has done in the commit that does it.
CREATE TABLE run_order (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run       BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    event     TEXT NOT NULL,            -- JSON: what the planner is to be told
    timestamp BIGINT NOT NULL
);

-- Outputs that later runs take over, under the SHA-256 of all that they were made from. They outlive the runs that made them.
CREATE TABLE task_cache (
    key       TEXT NOT NULL PRIMARY KEY,
    dag_id    TEXT NOT NULL,            -- whose output it is
    run_id    TEXT NOT NULL,
    task_id   TEXT NOT NULL,
    map_index BIGINT NOT NULL,
    type_name TEXT NOT NULL,
    size      BIGINT NOT NULL,
    sha256    TEXT NOT NULL,
    inline    TEXT,                     -- JSON text of a small value; NULL: it lies in the XCom folder under its hash
    timestamp BIGINT NOT NULL           -- when it was made
);

-- Parts in limits that several processes share: each counts as long as its run has this epoch, and a lease that has not ended.
CREATE TABLE slot (
    name      TEXT COLLATE "C" NOT NULL,            -- of the limit: `pool api`, `key load trips`, ..
    run       BIGINT NOT NULL REFERENCES dag_run (id) ON DELETE CASCADE,
    task_id   TEXT COLLATE "C" NOT NULL,
    map_index BIGINT NOT NULL,
    epoch     BIGINT NOT NULL,
    units     BIGINT NOT NULL,
    PRIMARY KEY (name, run, task_id, map_index)
);

CREATE INDEX slot_by_run ON slot (run, task_id, map_index);

-- When something was started under a limit of starts in a span of time.
CREATE TABLE slot_start (
    name      TEXT COLLATE "C" NOT NULL,
    timestamp BIGINT NOT NULL
);

CREATE INDEX slot_start_by_name ON slot_start (name, timestamp);

-- Who was refused, and asks again: it keeps its place as long as it does.
CREATE TABLE slot_ticket (
    name   TEXT COLLATE "C" NOT NULL,
    owner  TEXT NOT NULL,
    weight BIGINT NOT NULL,
    units  BIGINT NOT NULL,
    since  BIGINT NOT NULL,
    until  BIGINT NOT NULL,
    PRIMARY KEY (name, owner)
);

-- Which builds of programs have made runs of which versions of DAGs.
CREATE TABLE dag_build (
    dag_version TEXT NOT NULL REFERENCES dag_version (hash),
    build       TEXT NOT NULL,            -- hexadecimal
    timestamp   BIGINT NOT NULL,          -- of the first of them
    PRIMARY KEY (dag_version, build)
);

-- The runs of a stretch of time that somebody has asked for.
CREATE TABLE backfill (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id          TEXT NOT NULL,
    first_date      BIGINT NOT NULL,
    last_date       BIGINT NOT NULL,
    reprocess       TEXT NOT NULL,      -- `none`, `failed`, `completed`
    backwards       BIGINT NOT NULL,
    max_active_runs BIGINT NOT NULL,
    conf            TEXT NOT NULL,      -- JSON object, without secrets
    state           TEXT NOT NULL,      -- `running`, `paused`, `cancelled`, `done`
    created         BIGINT NOT NULL,
    ended           BIGINT,
    owner           TEXT,               -- who works on it, for people
    lease_until     BIGINT                -- until when; NULL: nobody does, or it is held by a file lock
);

CREATE INDEX backfill_open ON backfill (id) WHERE state IN ('running', 'paused');
