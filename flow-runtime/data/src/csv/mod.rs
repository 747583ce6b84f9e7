//! CSV files, plain or gzipped, as batches of typed columns, in bounded memory.
//!
//! ```text
//! thread 1: file -> gunzip -> text cut between records   thread 2: text -> typed columns   the caller
//!                          (at most 2 wait)                                (at most 2 wait)
//! ```

mod batches;
mod chunks;
mod header;
mod parser;
mod records;

pub(crate) use batches::{Batch, CsvBatches, sample};
