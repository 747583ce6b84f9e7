-- Runs of a DAG, in the order in which they were made.
CREATE INDEX dag_run_by_made ON dag_run (dag_id, id);
DROP INDEX dag_run_by_dag;
DROP INDEX dag_run_by_run_after;

-- With the state: whoever counts, or lists, those that are unfinished reads no other run.
DROP INDEX dag_run_unfinished;
CREATE INDEX dag_run_unfinished ON dag_run (dag_id, state) WHERE state IN ('queued', 'running');
