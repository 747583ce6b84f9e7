//! Whole runs in memory, for tests.
/// A run in memory.
#[derive(Debug)]
pub struct TestRun(flow_core::Dag);
impl TestRun {
    /// Of this DAG.
    pub fn new(dag: flow_core::Dag) -> TestRun {
        TestRun(dag)
    }
}
