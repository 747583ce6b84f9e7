-- What a person has said of a DAG. One that nobody has spoken of has no row.
CREATE TABLE dag (
    dag_id    TEXT NOT NULL PRIMARY KEY,
    is_paused INTEGER NOT NULL          -- 1: it makes no runs by itself
) STRICT, WITHOUT ROWID;

-- The latest run that a timetable made.
CREATE INDEX dag_run_by_type ON dag_run (dag_id, run_type, run_after);
