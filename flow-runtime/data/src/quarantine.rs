//! The rows that were kept out, in a file of their own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::files::{Part, with_suffix};
use crate::misfit::Rejected;
use crate::{Error, Progress, Result};

/// `TARGET.rejected.csv`.
pub(crate) fn path_of(target: &Path) -> PathBuf {
    with_suffix(target, ".rejected.csv")
}

/// The quarantine file of one target. It comes into being with the first row.
pub(crate) struct Quarantine {
    path: PathBuf,
    out: Option<(Part, BufWriter<File>)>,
}

impl Quarantine {
    pub(crate) fn of(target: &Path) -> Self {
        Self { path: path_of(target), out: None }
    }

    /// Adds rows.
    pub(crate) fn push(&mut self, rejected: &[Rejected], progress: &dyn Progress) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        if self.out.is_none() {
            let part = Part::create(&self.path, progress)?;
            let mut out = BufWriter::new(part.file.try_clone().map_err(Error::io(part.path()))?);
            out.write_all(b"row,column,reason,record\n").map_err(Error::io(part.path()))?;
            self.out = Some((part, out));
        }
        if let Some((part, out)) = &mut self.out {
            rejected.iter().try_for_each(|row| write(out, row)).map_err(Error::io(part.path()))?;
        }
        Ok(())
    }

    /// Makes the file visible, whole. Returns its path, or `None` if there were no rows.
    pub(crate) fn commit(self) -> Result<Option<PathBuf>> {
        let Some((part, out)) = self.out else {
            return Ok(None);
        };
        out.into_inner().map_err(|e| Error::io(part.path())(e.into_error()))?;
        part.commit()?;
        Ok(Some(self.path))
    }
}

/// Removes what an earlier call left there.
pub(crate) fn remove(target: &Path) -> Result<()> {
    let path = path_of(target);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source: error }),
        _ => Ok(()),
    }
}

fn write(out: &mut impl Write, rejected: &Rejected) -> io::Result<()> {
    write!(out, "{},", rejected.row)?;
    field(out, rejected.column.as_bytes())?;
    out.write_all(b",")?;
    field(out, rejected.reason.as_bytes())?;
    out.write_all(b",")?;
    field(out, &rejected.record)?;
    out.write_all(b"\n")
}

/// One field in quotes. Bytes that are no text are written `\xff`, so that the file stays readable.
fn field(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    out.write_all(b"\"")?;
    for piece in text.utf8_chunks() {
        for (n, part) in piece.valid().split('"').enumerate() {
            if n > 0 {
                out.write_all(b"\"\"")?;
            }
            out.write_all(part.as_bytes())?;
        }
        for byte in piece.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    out.write_all(b"\"")
}
