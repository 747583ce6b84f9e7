//! A CSV file as the Parquet file that is made of it, for a database that reads no CSV of ours.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use tempfile::TempDir;

use super::feed::blocking;
use crate::schema::Schema;
use crate::settled::AtWork;
use crate::{ParquetOptions, Progress, Result, parquetize};

/// Makes Parquet of a CSV file, in a folder. Dropping the future ends that, and the folder goes.
pub(super) async fn made_of(csv: &Path, schema: &Schema, folder: TempDir) -> Result<(PathBuf, TempDir)> {
    // Gone with the future, which the thread asks after.
    let wanted = Arc::new(());
    let waiting = Waiting(Arc::downgrade(&wanted));
    let (csv, schema, at_work) = (csv.to_owned(), schema.clone(), AtWork::new());
    blocking(move || {
        // The folder goes before it is told that all has gone.
        let (_at_work, folder) = (at_work, folder);
        let parquet = folder.path().join("rows.parquet");
        parquetize(csv, &parquet, &schema, &ParquetOptions::default(), &waiting)?;
        Ok((parquet, folder))
    })
    .await
}

/// Whether somebody waits for what a thread does.
struct Waiting(Weak<()>);

impl Progress for Waiting {
    fn report(&self, _: u64, _: Option<u64>) {}

    fn cancelled(&self) -> bool {
        self.0.strong_count() == 0
    }
}
