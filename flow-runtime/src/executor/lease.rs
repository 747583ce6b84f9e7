//! Who is at work on a run? A lock that the operating system gives back when its process ends, however it ends.

use super::EngineError;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A run held by this process, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    file: File,
    path: PathBuf,
}

/// Does a process that lives work on this run? Asked of the lock under this home folder; nothing is changed.
pub fn is_held(home: &Path, dag_id: &str, run_id: &str) -> bool {
    match File::open(path(home, dag_id, run_id)) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// Does a process that lives hold the one place for something of this kind, `scheduler` for example? Nothing is changed.
pub fn is_kind_held(home: &Path, kind: &str) -> bool {
    match File::open(home.join("locks").join(format!("{kind}.lock"))) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

fn path(home: &Path, dag_id: &str, run_id: &str) -> PathBuf {
    home.join("locks").join(format!("{}.lock", name(dag_id, run_id)))
}

/// Who this process is, for people: `host, process 4711`.
pub(super) fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host = host.unwrap_or_else(|_| "this host".into());
    format!("{}, process {}", host.trim(), std::process::id())
}

impl Lease {
    /// Takes the run, unless a process that lives holds it.
    pub(super) fn take(home: &Path, dag_id: &str, run_id: &str) -> Result<Lease, EngineError> {
        let what = format!("run `{run_id}` of DAG `{dag_id}`");
        Lease::at(home, path(home, dag_id, run_id), &|who| {
            format!("{what} is being worked on ({who}): wait for it, or stop it first")
        })
    }

    /// Takes the one place that there is for something of this kind.
    pub(super) fn of_kind(home: &Path, kind: &str) -> Result<Lease, EngineError> {
        let path = home.join("locks").join(format!("{kind}.lock"));
        Lease::at(home, path, &|who| {
            format!(
                "a {kind} works on {} already ({who}): one is enough, and two would be in each other's way",
                home.display()
            )
        })
    }

    fn at(home: &Path, path: PathBuf, held: &dyn Fn(&str) -> String) -> Result<Lease, EngineError> {
        let failed = |e: std::io::Error| EngineError::Io(format!("cannot lock {}: {e}", path.display()));
        std::fs::create_dir_all(home.join("locks")).map_err(failed)?;
        let mut looks = 3;
        loop {
            let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = open.map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_still_at(&file, &path) => {
                    let note = file.set_len(0).and_then(|()| file.write_all(owner().as_bytes()));
                    note.map_err(failed)?;
                    return Ok(Lease { file, path });
                }
                // Its owner removed it between our two steps: ours is no longer the one that others see.
                Ok(()) => {}
                // Who only asks ([`is_held`]) has it for a moment.
                Err(TryLockError::WouldBlock) if looks > 0 => {
                    looks -= 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(EngineError::Held(held(&holder(&mut file))));
                }
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if cfg!(unix) {
            // Removed while it is held; see `is_still_at`.
            drop(std::fs::remove_file(&self.path));
        }
        drop(self.file.unlock());
    }
}

/// Who wrote its name into a lock.
fn holder(file: &mut File) -> String {
    let mut who = String::new();
    if file.read_to_string(&mut who).is_err() || who.is_empty() {
        who = "another process".into();
    }
    who
}

fn name(dag_id: &str, run_id: &str) -> String {
    let digest = Sha256::digest(format!("{dag_id}\0{run_id}").as_bytes());
    digest[..16].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |m: std::io::Result<std::fs::Metadata>| m.ok().map(|m| (m.dev(), m.ino()));
    inode(file.metadata()).is_some_and(|i| Some(i) == inode(std::fs::metadata(path)))
}

#[cfg(not(unix))]
fn is_still_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_held_by_one_and_free_after() {
        let home = tempfile::tempdir().unwrap();
        let lease = Lease::take(home.path(), "d", "r").unwrap();
        let error = Lease::take(home.path(), "d", "r").unwrap_err().to_string();
        assert!(error.contains(&owner()) && error.contains("run `r` of DAG `d`"), "{error}");
        assert!(is_held(home.path(), "d", "r") && !is_held(home.path(), "d", "other"));
        drop(Lease::take(home.path(), "d", "other").unwrap());
        drop(lease);
        drop(Lease::take(home.path(), "d", "r").unwrap());
        assert_eq!(std::fs::read_dir(home.path().join("locks")).unwrap().count(), 0);
    }
}
