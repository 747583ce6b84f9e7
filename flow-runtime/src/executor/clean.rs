//! Runs that nobody needs any more.

use super::hold;
use super::{Engine, EngineError};
use crate::clock::{Clock as _, SystemClock};
use crate::store::StoredRun;
use crate::telemetry;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files of values younger than this may be those of a try that is about to end.
const YOUNG: Duration = Duration::from_secs(3600);

/// What [`Engine::sweep`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Engine {
    /// Deletes a run that nobody works on: its record, its tries and values, and its logs.
    ///
    /// # Errors
    /// A run that somebody works on, a store or a file system that fails.
    pub async fn delete(&self, run: &StoredRun) -> Result<(), EngineError> {
        let hold = hold::take(self, run).await?;
        let deleted = async { self.store.delete_run(run.pk, hold.epoch(self, run.pk).await?).await }.await;
        hold.release().await;
        deleted?;
        if !self.settings.logs {
            return Ok(());
        }
        // Last: a folder without a run is found by nobody, a run without its logs would be.
        let logs = telemetry::run_folder(&self.settings.home, &run.run.dag_id, &run.run.run_id);
        blocking(move || remove_folder(&logs)).await
    }

    /// Removes the log of a run of this id that was deleted by a process which was killed between the record and the folder. Not where
    /// several stores may have runs in this home folder: there it may be that of another.
    pub(super) async fn begin_logs(&self, dag_id: &str, run_id: &str) {
        let logs = telemetry::run_folder(&self.settings.home, dag_id, run_id);
        if !self.settings.logs || !self.settings.spill || !logs.exists() {
            return;
        }
        if let Err(error) = blocking(move || remove_folder(&logs)).await {
            tracing::warn!("the log of a run that was deleted is still there, before that of run `{run_id}`: {error}");
        }
    }

    /// Removes the files of large values to which no run refers; none where values stay in their rows.
    ///
    /// # Errors
    /// A store or a file system that fails.
    pub async fn sweep(&self) -> Result<Swept, EngineError> {
        if !self.settings.spill {
            // What lies in the home folder is another store's.
            return Ok(Swept::default());
        }
        let home = self.settings.home.clone();
        // What is old now and is in no row after that is in none for ever: whoever keeps such a value again makes its file young.
        let found = blocking(move || old_files(&home.join("xcom"))).await?;
        let needed = self.store.spilled().await?;
        blocking(move || remove(&found, &needed)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| EngineError::Io(e.to_string()))?
}

fn because(path: &Path, e: &io::Error) -> EngineError {
    EngineError::Io(format!("{} cannot be removed: {e}", path.display()))
}

fn remove_folder(folder: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(because(folder, &e)),
        _ => Ok(()),
    }
}

fn is_old(path: &Path) -> bool {
    let modified = path.metadata().and_then(|m| m.modified());
    modified.is_ok_and(|at| SystemTime::from(SystemClock.now()).duration_since(at).is_ok_and(|age| age > YOUNG))
}

/// The files of values, in their folders.
fn old_files(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let mut files = Vec::new();
    for folder in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        files.extend(entries(&folder)?.into_iter().filter(|path| is_old(path)));
    }
    Ok(files)
}

/// What lies in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let read = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    match read() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => found.map_err(|e| EngineError::Io(format!("{} cannot be read: {e}", folder.display()))),
    }
}

fn remove(found: &[PathBuf], needed: &BTreeSet<String>) -> Result<Swept, EngineError> {
    let mut swept = Swept::default();
    for path in found {
        let hash = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        // Still old: nobody has kept it again in the meantime.
        if needed.contains(hash) || !is_old(path) {
            continue;
        }
        let bytes = path.metadata().map_or(0, |m| m.len());
        match std::fs::remove_file(path) {
            Ok(()) => (swept.files, swept.bytes) = (swept.files + 1, swept.bytes + bytes),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(because(path, &e)),
        }
    }
    Ok(swept)
}
