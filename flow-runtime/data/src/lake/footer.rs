//! What a Parquet file says of itself, without the rest of it.

use std::path::{Path, PathBuf};

use object_store::ObjectStoreExt;

use super::objects::head;
use super::open::failed;
use super::{Lake, Place};
use crate::field::Field;
use crate::parquet::{Footer, ParquetBatches, read_footer};
use crate::redact::redact;
use crate::{Error, Result};

/// So much of the end is read at first: the footers of most files.
const FIRST_BYTES: u64 = 64 << 10;

impl Lake {
    /// The columns of a Parquet file in a store or a folder, and how many rows it has. One request looks for it; one, or for a
    /// long footer two, read its end.
    ///
    /// # Errors
    /// There is no such object, it is no Parquet file or has a column that fits no table, or the store refuses or cannot be
    /// reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn parquet_footer(&self, source: &str) -> Result<(Vec<Field>, u64)> {
        let url = match Place::parse(source)? {
            Place::Local(path) => return crate::database::blocking(move || of_file(&path)).await,
            Place::Remote(url) => url,
        };
        let (store, key) = self.open(&url)?;
        let shown = PathBuf::from(redact(url.as_str()));
        let wrong =
            |message: &str| Error::Store { url: redact(url.as_str()), message: message.into(), permanent: true };
        let object = head(&store, &key, &url).await?.ok_or_else(|| wrong("there is no such object"))?;
        let mut wanted = FIRST_BYTES.min(object.bytes);
        loop {
            let range = object.bytes - wanted..object.bytes;
            let last = store.objects().get_range(&key, range).await.map_err(failed(&url))?;
            match read_footer(&last, &shown)? {
                Footer::Read(fields, rows) => return Ok((fields, rows)),
                Footer::Needs(more) if more > wanted && more <= object.bytes => wanted = more,
                Footer::Needs(_) => return Err(wrong("this is cut short, or no Parquet file")),
            }
        }
    }
}

fn of_file(path: &Path) -> Result<(Vec<Field>, u64)> {
    let file = ParquetBatches::open(path)?;
    Ok((file.fields, file.rows))
}
