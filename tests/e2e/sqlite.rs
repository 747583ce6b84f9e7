//! What the program writes into a SQLite file, asked of SQLite itself.

use crate::program::Place;
use std::path::Path;

impl Place {
    /// The rows that a query gives, of a file in the home folder.
    pub fn sql(&self, file: &str, sql: &'static str) -> Vec<Vec<String>> {
        sqlite(&self.home().join(file), sql)
    }
}

/// The rows that a query gives, as texts.
pub fn sqlite(path: &Path, sql: &'static str) -> Vec<Vec<String>> {
    use sqlx::{Column as _, Connection as _, Row as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("the file opens");
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.expect("the query runs");
        let text = |row: &sqlx::sqlite::SqliteRow, n: usize| row.try_get_unchecked::<String, _>(n).unwrap_or_default();
        rows.iter().map(|row| row.columns().iter().map(|c| text(row, c.ordinal())).collect()).collect()
    })
}
