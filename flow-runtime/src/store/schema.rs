//! How far the schema of a database has come.

/// How far the schema of a database has come, and how far it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// How many steps the database has seen; 0 for one that is empty.
    pub seen: u64,
    /// How many steps this flow knows.
    pub known: u64,
}

impl Schema {
    /// It is what this flow works with.
    pub fn is_current(&self) -> bool {
        self.seen == self.known
    }

    /// It was written by a newer flow, which this one does not understand.
    pub fn is_newer(&self) -> bool {
        self.seen > self.known
    }
}
