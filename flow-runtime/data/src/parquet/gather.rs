//! Rows gathered to row groups, which are encoded on a thread of their own.
//!
//! ```text
//! the caller: batches -> a group, and the next while ..   a thread: the group -> pages -> the file
//!                                      (none waits between them)
//! ```

use std::fs::File;
use std::io::BufWriter;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use polars::prelude::PolarsResult;
use polars_arrow::array::Array;
use polars_arrow::compute::aggregate::estimated_bytes_size;

use super::group::GroupWriter;
use crate::batches::Rows;
use crate::files::Part;
use crate::schema::Column;
use crate::{Error, Field, ParquetOptions, Progress, Result};

/// The file that the thread writes, and returns once there are no more groups.
type Written<'a> = PolarsResult<GroupWriter<BufWriter<&'a File>>>;

/// Writes a Parquet file of batches.
pub(super) struct Writer<'scope, 'a> {
    part: &'a Part,
    progress: &'a dyn Progress,
    groups: SyncSender<Gathered>,
    thread: ScopedJoinHandle<'scope, Written<'a>>,
    group_rows: usize,
    group_bytes: usize,
    gathered: Gathered,
    rows: u64,
}

impl<'scope, 'a: 'scope> Writer<'scope, 'a> {
    /// Starts the thread, which ends when this is dropped and the group at hand is written.
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        part: &'a Part,
        columns: &[Column],
        options: &ParquetOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let fields: Vec<_> = columns.iter().map(Field::from).collect();
        let out = BufWriter::with_capacity(1 << 20, &part.file);
        let mut writer = GroupWriter::new(out, &fields).map_err(|e| Error::format(part.path(), e.to_string()))?;
        let (groups, waiting) = sync_channel::<Gathered>(0);
        let body = move || {
            for group in waiting {
                writer.write(group.columns, group.rows, progress)?;
            }
            Ok(writer)
        };
        let thread = Builder::new().name("flow-data".into()).spawn_scoped(scope, body);
        let thread = thread.map_err(Error::io("writing a file"))?;
        let (group_rows, group_bytes) = (options.row_group_rows.max(1), options.row_group_bytes);
        let gathered = Gathered::of(columns.len());
        Ok(Self { part, progress, groups, thread, group_rows, group_bytes, gathered, rows: 0 })
    }

    /// Adds rows. Waits while a group is complete and the one before it is still being encoded.
    pub(super) fn push(mut self, rows: Rows) -> Result<Self> {
        self.rows += rows.rows as u64;
        self.gathered.push(rows);
        while self.gathered.rows >= self.group_rows {
            let group = self.gathered.take(self.group_rows);
            self = self.hand_over(group)?;
        }
        if self.gathered.bytes >= self.group_bytes {
            let group = self.gathered.take(self.gathered.rows);
            self = self.hand_over(group)?;
        }
        Ok(self)
    }

    fn hand_over(self, group: Gathered) -> Result<Self> {
        if group.rows == 0 || self.groups.send(group).is_ok() {
            return Ok(self);
        }
        // The thread takes no more: it says why.
        let thread_ended = self.written().err();
        Err(thread_ended.unwrap_or_else(|| Error::lost_thread(WRITING)))
    }

    /// Waits until all is written.
    fn written(self) -> Result<GroupWriter<BufWriter<&'a File>>> {
        let Self { part, progress, groups, thread, .. } = self;
        drop(groups);
        let written = thread.join().map_err(|_| Error::lost_thread(WRITING))?;
        written.map_err(|error| match progress.cancelled() {
            true => Error::Cancelled,
            false => Error::format(part.path(), error.to_string()),
        })
    }

    /// Writes what is left and the footer with some metadata. Returns rows and bytes.
    pub(super) fn finish(mut self, metadata: &[(&str, &str)]) -> Result<(u64, u64)> {
        let rest = std::mem::take(&mut self.gathered);
        let (part, rows) = (self.part, self.rows);
        let writer = self.hand_over(rest)?.written()?;
        let bytes = writer.finish(metadata).map_err(|e| Error::format(part.path(), e.to_string()))?;
        let written = part.file.metadata().map_err(Error::io(part.path()))?.len();
        if written != bytes {
            return Err(Error::format(part.path(), format!("{written} of {bytes} bytes were written")));
        }
        Ok((rows, bytes))
    }
}

const WRITING: &str = "writing a file";

/// Rows that are to be a group, each column in pieces.
#[derive(Default)]
struct Gathered {
    columns: Vec<Vec<Box<dyn Array>>>,
    rows: usize,
    /// How much memory they take.
    bytes: usize,
}

impl Gathered {
    fn of(columns: usize) -> Self {
        Self { columns: vec![Vec::new(); columns], ..Self::default() }
    }

    fn push(&mut self, rows: Rows) {
        self.rows += rows.rows;
        self.bytes += bytes(rows.arrays.iter());
        self.columns.iter_mut().zip(rows.arrays).for_each(|(column, array)| column.push(array));
    }

    /// Takes the first rows away.
    fn take(&mut self, rows: usize) -> Self {
        let mut taken = Self::of(self.columns.len());
        for (column, taken) in self.columns.iter_mut().zip(&mut taken.columns) {
            let mut missing = rows;
            let mut rest = Vec::new();
            for array in std::mem::take(column) {
                let cut = missing.min(array.len());
                missing -= cut;
                if cut > 0 {
                    taken.push(array.sliced(0, cut));
                }
                if cut < array.len() {
                    rest.push(array.sliced(cut, array.len() - cut));
                }
            }
            *column = rest;
        }
        taken.rows = rows.min(self.rows);
        self.rows -= taken.rows;
        self.bytes = bytes(self.columns.iter().flatten());
        taken
    }
}

fn bytes<'a>(arrays: impl Iterator<Item = &'a Box<dyn Array>>) -> usize {
    arrays.map(|array| estimated_bytes_size(array.as_ref())).sum()
}
