//! The DAG folder: every file beside this one is a module, and every `#[dag]` in it is known to the `dags` binary.

flow_runtime::automod::dir!(pub "src");
