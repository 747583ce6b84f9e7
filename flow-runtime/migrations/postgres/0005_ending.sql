-- How a run ends, when what is set up is taken away, that a person has ended or that took too long: a JSON object.
ALTER TABLE dag_run ADD COLUMN ending TEXT;
