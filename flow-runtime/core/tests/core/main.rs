//! What flow-core promises: conformance to answers that Airflow gave, and laws.

mod laws;
mod vectors;
