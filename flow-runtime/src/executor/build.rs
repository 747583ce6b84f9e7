//! Which build of a program this is.

use super::{Engine, EngineError};
use crate::store::StoreError;
use elf::ElfStream;
use elf::endian::AnyEndian;
use elf::note::Note;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokio::sync::OnceCell;

/// Digits of an id that people see.
pub const SHOWN: usize = 12;

/// The id of this build, in hexadecimal: what the linker has written into the program (`NT_GNU_BUILD_ID`, a hash of all that it
/// has put there), or the SHA-256 of the program's file where it has not.
///
/// # Errors
/// A file that cannot be read.
pub async fn build_id() -> io::Result<&'static str> {
    static LINKED: OnceLock<Option<String>> = OnceLock::new();
    static BUILD: OnceCell<String> = OnceCell::const_new();
    // Without waiting for whoever else is at it: a runtime that waits with its clock stopped would move the clock.
    let known = match LINKED.get() {
        Some(known) => known,
        None => {
            let found = linked(&program()?)?;
            LINKED.get_or_init(|| found)
        }
    };
    if let Some(id) = known {
        return Ok(id);
    }
    let path = program()?;
    let read = || async { tokio::task::spawn_blocking(move || hashed(&path)).await? };
    Ok(BUILD.get_or_try_init(read).await?.as_str())
}

/// The file that this process was started from, even if another lies in its place by now.
fn program() -> io::Result<PathBuf> {
    let myself = Path::new("/proc/self/exe");
    if myself.exists() { Ok(myself.to_path_buf()) } else { std::env::current_exe() }
}

/// What the linker says. A few small reads, however large the program is.
fn linked(path: &Path) -> io::Result<Option<String>> {
    // One of another format has no such note.
    let Ok(mut file) = ElfStream::<AnyEndian, _>::open_stream(File::open(path)?) else { return Ok(None) };
    let notes: Vec<_> = file.segments().iter().filter(|part| part.p_type == elf::abi::PT_NOTE).copied().collect();
    for part in notes {
        let Ok(notes) = file.segment_data_as_notes(&part) else { continue };
        for note in notes {
            if let Note::GnuBuildId(id) = note {
                return Ok(Some(hex(id.0)));
            }
        }
    }
    Ok(None)
}

fn hashed(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first digits of an id.
pub fn short(id: &str) -> &str {
    id.get(..SHOWN).unwrap_or(id)
}

/// Notes that this build makes runs of this version of a DAG: once for each, as long as the engine lives.
pub(super) async fn note(engine: &Engine, version: &str) -> Result<(), EngineError> {
    if engine.noted.lock().contains(version) {
        return Ok(());
    }
    let build = build_id().await.map_err(|e| EngineError::Io(format!("this program's file cannot be read: {e}")))?;
    engine.store.put_build(version, build, engine.clock.now()).await?;
    engine.noted.lock().insert(version.to_owned());
    Ok(())
}

/// Which builds have made runs of this version, and which this is, as the end of a sentence; empty if nobody knows.
pub(super) async fn told(engine: &Engine, version: &str) -> Result<String, StoreError> {
    let builds = engine.store.builds(version).await?;
    let named: Vec<String> = builds
        .iter()
        .map(|row| format!("{} (first seen {})", short(&row.build), row.first_seen.format("%Y-%m-%d %H:%M UTC")))
        .collect();
    Ok(match (named.is_empty(), build_id().await) {
        (true, _) => String::new(),
        (false, Ok(this)) => {
            format!("; runs like it are made by build {}, and this is build {}", named.join(", "), short(this))
        }
        (false, Err(_)) => format!("; runs like it are made by build {}", named.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_has_one_id() {
        let id = build_id().await.unwrap();
        assert!(id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(build_id().await.unwrap(), id);
        assert_eq!(short(id).len(), SHOWN);
    }

    #[test]
    fn what_no_linker_has_signed_is_known_by_its_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n").unwrap();
        assert_eq!(linked(file.path()).unwrap(), None);
        let hash = hashed(file.path()).unwrap();
        std::fs::write(file.path(), "#!/bin/bash\n").unwrap();
        assert!(hash.len() == 64 && hash != hashed(file.path()).unwrap());
        assert!(linked(Path::new("/nowhere")).is_err());
    }
}
