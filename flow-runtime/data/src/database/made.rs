//! A CSV file as the Parquet file that is made of it, for a database that reads no CSV of ours.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use tempfile::TempDir;

use super::feed::blocking;
use crate::schema::Schema;
use crate::settled::AtWork;
use crate::{ParquetOptions, Progress, Result, parquetize};

/// What is needed to make Parquet of a CSV file.
pub(super) struct Maker {
    /// What the columns hold.
    pub(super) schema: Schema,
    /// Where to. It goes with this.
    pub(super) folder: TempDir,
    /// About what the rows may take meanwhile.
    pub(super) memory: u64,
}

/// The Parquet file of a CSV file.
pub(super) struct Made {
    pub(super) parquet: PathBuf,
    pub(super) rows: u64,
    /// It is in here, and goes with it.
    _folder: TempDir,
}

impl Maker {
    /// Makes it. Dropping the future ends that, and the folder goes.
    pub(super) async fn make(self, csv: &Path) -> Result<Made> {
        // Gone with the future, which the thread asks after.
        let wanted = Arc::new(());
        let waiting = Waiting(Arc::downgrade(&wanted));
        let (csv, at_work) = (csv.to_owned(), AtWork::new());
        blocking(move || {
            // The folder goes before it is told that all has gone.
            let (_at_work, Self { schema, folder, memory }) = (at_work, self);
            let parquet = folder.path().join("rows.parquet");
            let options = ParquetOptions::default().within(memory);
            let rows = parquetize(csv, &parquet, &schema, &options, &waiting)?.rows;
            Ok(Made { parquet, rows, _folder: folder })
        })
        .await
    }
}

/// Whether somebody waits for what a thread does.
struct Waiting(Weak<()>);

impl Progress for Waiting {
    fn report(&self, _: u64, _: Option<u64>) {}

    fn cancelled(&self) -> bool {
        self.0.strong_count() == 0
    }
}
