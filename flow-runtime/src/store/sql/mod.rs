//! What the stores in a database have in common: how changes are written down, how they are gathered, what is asked and what
//! the rows of an answer mean.

pub(super) mod encode;
pub(super) mod questions;
pub(super) mod rows;
pub(super) mod writer;

use super::StoreError;

/// An error inside a store, before it is told to anybody.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database's.
    Sqlx(sqlx::Error),
    /// The store's own.
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(e: sqlx::Error) -> Failure {
        Failure::Sqlx(e)
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Failure {
        Failure::Store(e)
    }
}

impl Failure {
    /// As it is told to the caller; `explain` puts the database's into a sentence.
    pub(super) fn told(self, explain: impl FnOnce(&sqlx::Error) -> StoreError) -> StoreError {
        match self {
            Failure::Store(e) => e,
            Failure::Sqlx(e) => explain(&e),
        }
    }
}
