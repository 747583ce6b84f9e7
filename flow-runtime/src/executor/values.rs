//! Where the text of a value lies: a small one in its row, a large one in a file under its SHA-256.

use crate::clock::{Clock as _, SystemClock};
use crate::store::XComValue;
use crate::value::{FILE, files};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file of a spilled value under a home folder: `xcom/ab/abcd...json`.
pub fn value_path(home: &Path, sha256: &str) -> PathBuf {
    let folder = sha256.get(..2).unwrap_or("00");
    home.join("xcom").join(folder).join(format!("{sha256}.json"))
}

/// The JSON text of a stored value, from its row or its file. Blocks.
///
/// # Errors
/// If the file is missing, cannot be read, or does not hold what was written (its SHA-256 differs).
pub fn read_value(home: &Path, value: &XComValue) -> io::Result<Arc<str>> {
    if let Some(text) = &value.inline {
        return Ok(text.clone());
    }
    let path = value_path(home, &value.sha256);
    let text = std::fs::read_to_string(&path)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot read the value in {}: {e}", path.display())))?;
    if sha256(&text) != *value.sha256 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the value in {} is damaged", path.display())));
    }
    Ok(text.into())
}

/// The first of the files that a value has besides its text which is not there. Blocks.
pub(super) fn missing_file(home: &Path, text: &str) -> Option<PathBuf> {
    let path = |hash: &str| value_path(home, hash).with_extension("parquet");
    files(text).map(path).find(|path| !path.is_file())
}

/// What is to be stored of a value; with a home folder, a text longer than `inline_max` bytes is written there first.
/// Blocks only then.
pub(super) fn keep(
    text: &Arc<str>,
    type_name: &Arc<str>,
    inline_max: usize,
    spill: Option<&Path>,
) -> io::Result<XComValue> {
    let sha256 = sha256(text);
    let inline = match spill {
        // Where it names files the store must find their names.
        Some(home) if text.len() > inline_max && !text.contains(FILE) => {
            write(&value_path(home, &sha256), text)?;
            None
        }
        _ => Some(text.clone()),
    };
    Ok(XComValue { type_name: type_name.clone(), size: text.len() as u64, sha256: sha256.into(), inline })
}

/// Writes whole or not at all: beside it first, then in its place.
fn write(path: &Path, text: &str) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if std::fs::metadata(path).is_ok_and(|m| m.len() == text.len() as u64) {
        // Young again: what no run refers to is removed once it is old.
        return File::options().write(true).open(path)?.set_modified(SystemClock.now().into());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.part", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        // The row that names it may survive a power cut: so must the file.
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    });
    if written.is_err() {
        drop(std::fs::remove_file(&beside));
    }
    written
}

fn sha256(text: &str) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_stay_in_the_row_and_large_ones_go_to_a_file() {
        let home = tempfile::tempdir().unwrap();
        let (small, large): (Arc<str>, Arc<str>) = ("[1]".into(), "[1,2,3]".into());
        let kept = keep(&small, &"Vec<u8>".into(), 3, Some(home.path())).unwrap();
        assert_eq!(kept.inline.as_deref(), Some("[1]"));
        for _ in 0..2 {
            let kept = keep(&large, &"Vec<u8>".into(), 3, Some(home.path())).unwrap();
            assert_eq!((kept.inline.as_deref(), kept.size), (None, 7));
            assert_eq!(read_value(home.path(), &kept).unwrap(), large);
            let folder = value_path(home.path(), &kept.sha256).parent().unwrap().to_path_buf();
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
        }
        assert_eq!(keep(&large, &"Vec<u8>".into(), 3, None).unwrap().inline, Some(large));
    }

    #[test]
    fn a_damaged_file_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let kept = keep(&"[1,2,3]".into(), &"Vec<u8>".into(), 3, Some(home.path())).unwrap();
        std::fs::write(value_path(home.path(), &kept.sha256), "[1,2,4]").unwrap();
        assert!(read_value(home.path(), &kept).unwrap_err().to_string().contains("damaged"));
    }
}
