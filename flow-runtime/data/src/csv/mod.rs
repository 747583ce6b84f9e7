//! CSV files as records.

mod chunks;
mod dialect;
mod header;
mod options;
mod seems;
mod split;

use std::path::Path;

pub(crate) use chunks::Chunks;
pub use options::CsvOptions;
#[cfg(test)]
pub(crate) use split::Splitter;

use crate::Result;
use crate::batches::{Ahead, TextBatches};
use crate::columns::Converter;
use crate::error::Error;
use crate::misfit::Misfit;
use crate::records::Records;
use crate::schema::{Column, Schema};

impl TextBatches {
    /// Opens a CSV file, matches its header and starts reading.
    pub(crate) fn open_csv(path: &Path, schema: &Schema, options: &CsvOptions, misfit: Misfit) -> Result<Self> {
        let (header, chunks) = Chunks::open(path, schema, options)?;
        let delivered = header.delivered();
        let converter = Converter::new(path, header.reading, header.order, misfit);
        Self::start(path, chunks, converter, delivered)
    }
}

/// A CSV file that is written as most are, as records; every value must fit.
pub(crate) struct CsvRecords {
    /// What the columns hold, in the order in which they are delivered.
    pub(crate) columns: Vec<Column>,
    /// The size of the file on disk.
    pub(crate) bytes: u64,
    /// Makes columns of records, and says what is wrong with them.
    pub(crate) converter: Converter,
    pub(crate) records: Ahead<Records>,
}

impl CsvRecords {
    /// Opens the file, matches its header and starts reading.
    pub(crate) fn open(path: &Path, schema: &Schema) -> Result<Self> {
        let bytes = path.metadata().map_err(Error::io(path))?.len();
        let (header, chunks) = Chunks::open(path, schema, &CsvOptions::default())?;
        let columns = header.delivered();
        let converter = Converter::new(path, header.reading, header.order, Misfit::Fail);
        Ok(Self { columns, bytes, converter, records: Ahead::read(chunks.unhashed())? })
    }
}
