//! Files that appear whole: written as `NAME.part` under a lock, then renamed.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::progress::Progress;
use crate::{Error, Result};

/// How often a writer that waits for another looks again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// How much of a file is copied before it is hashed: little enough to be still in the processor's caches by then.
const COPY_BYTES: usize = 256 << 10;

/// How much of a file is read to be hashed at once: it stays in the cache of a core.
const HASH_BYTES: usize = 32 << 10;

/// A file on its way: `DEST.part`, locked against other writers of the same destination, in this process and others.
pub(crate) struct Part {
    pub(crate) file: File,
    dest: PathBuf,
    path: PathBuf,
    /// Keep what has arrived when the writer fails.
    keep: bool,
    /// What is in it has been written through to the disk already: once more would cost a turn of the disk for nothing.
    durable: bool,
    committed: bool,
}

impl Part {
    /// Opens or creates the part file of `dest` and its folder, or `None` while another writer has it. Its content is
    /// what an earlier writer left.
    fn try_open(dest: &Path) -> Result<Option<Self>> {
        let path = part_path(dest);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(Error::Io { path, source }),
        }
        // Between opening and locking, the writer before us may have renamed this very file to its destination.
        if !is_same_file(&file, &path) {
            return Ok(None);
        }
        Ok(Some(Self { file, dest: dest.to_owned(), path, keep: false, durable: false, committed: false }))
    }

    /// An empty part file; waits for another writer. Blocks.
    pub(crate) fn create(dest: &Path, progress: &dyn Progress) -> Result<Self> {
        loop {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            if let Some(part) = Self::try_open(dest)? {
                part.file.set_len(0).map_err(Error::io(&part.path))?;
                return Ok(part);
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// The part file with what an earlier writer left, kept if this one fails too; waits for another writer.
    pub(crate) async fn resume(dest: &Path) -> Result<Self> {
        loop {
            if let Some(mut part) = Self::try_open(dest)? {
                part.keep = true;
                return Ok(part);
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// An empty part file; waits for another writer without blocking.
    pub(crate) async fn start(dest: &Path) -> Result<Self> {
        let mut part = Self::resume(dest).await?;
        part.keep = false;
        part.file.set_len(0).map_err(Error::io(&part.path))?;
        Ok(part)
    }

    /// The same file for asynchronous writing, at the place where this handle stands.
    pub(crate) fn writer(&self) -> Result<tokio::fs::File> {
        self.file.try_clone().map(tokio::fs::File::from_std).map_err(Error::io(&self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the content durable and gives it its name, replacing what was there.
    pub(crate) fn commit(mut self) -> Result<()> {
        self.sync()?;
        fs::rename(&self.path, &self.dest).map_err(Error::io(&self.dest))?;
        self.committed = true;
        sync_folder_of(&self.dest)
    }

    /// The same, unless something is there already: false then.
    pub(crate) fn commit_new(self) -> Result<bool> {
        self.sync()?;
        // A second name, which unlike a rename replaces nothing. The first one goes with this.
        match fs::hard_link(&self.path, &self.dest) {
            Ok(()) => sync_folder_of(&self.dest).map(|()| true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io(&self.dest)(error)),
        }
    }

    fn sync(&self) -> Result<()> {
        if self.durable {
            return Ok(());
        }
        self.file.sync_all().map_err(Error::io(&self.path))
    }

    /// Removes the part file, whatever it holds.
    pub(crate) fn discard(mut self) {
        self.keep = false;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let worth_keeping = self.keep && self.file.metadata().is_ok_and(|m| m.len() > 0);
        if !self.committed && !worth_keeping {
            // Nobody is left to hear of a failure; the next writer truncates it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that others write to, who tell in words alone what went wrong. The error itself is kept.
pub(crate) struct Noting<W> {
    out: W,
    noted: Noted,
}

/// The first error of a [`Noting`].
#[derive(Clone, Default)]
pub(crate) struct Noted(Arc<Mutex<Option<std::io::Error>>>);

impl<W> Noting<W> {
    pub(crate) fn new(out: W) -> (Self, Noted) {
        let noted = Noted::default();
        (Self { out, noted: noted.clone() }, noted)
    }

    fn note(&self, error: std::io::Error) -> std::io::Error {
        let again = std::io::Error::new(error.kind(), error.to_string());
        if let Ok(mut noted) = self.noted.0.lock() {
            noted.get_or_insert(error);
        }
        again
    }
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes).map_err(|error| match error.kind() {
            // It is tried again.
            std::io::ErrorKind::Interrupted => error,
            _ => self.note(error),
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush().map_err(|error| self.note(error))
    }
}

impl Noted {
    /// Why the file could not be written: the disk is full, say, or else what those others say.
    pub(crate) fn error(&self, path: &Path, words: &impl Display) -> Error {
        match self.0.lock().ok().and_then(|mut noted| noted.take()) {
            Some(error) => Error::io(path)(error),
            None => Error::format(path, words.to_string()),
        }
    }
}

/// Refuses to make a file of itself: what is read would be replaced, emptied or removed. `written` are the target and what is
/// written or removed beside it; another spelling, a symlink or a hard link is the same file.
pub(crate) fn apart(source: &Path, written: &[PathBuf]) -> Result<()> {
    let Some(same) = written.iter().find(|path| is_one_file(source, path)) else {
        return Ok(());
    };
    let (source, same) = (source.display(), same.display());
    let message = if source.to_string() == same.to_string() {
        format!("`{source}` would be read and written at once; name another target")
    } else {
        format!("`{source}` would be read and written at once, as `{same}`; name another target")
    };
    Err(Error::Invalid(message))
}

/// Do both paths lead to one file that is there? They are not opened: who writes to a named pipe would take that for a reader.
#[cfg(unix)]
fn is_one_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let known = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    known(a).is_some_and(|a| known(b) == Some(a))
}

#[cfg(not(unix))]
fn is_one_file(a: &Path, b: &Path) -> bool {
    let resolved = |path: &Path| fs::canonicalize(path).ok();
    resolved(a).is_some_and(|a| resolved(b) == Some(a))
}

/// `DEST.part`.
pub(crate) fn part_path(dest: &Path) -> PathBuf {
    with_suffix(dest, ".part")
}

/// The path with something added to its file name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes a small file whole: temporary, durable, renamed. The caller holds the lock of what it belongs to.
pub(crate) fn write_small(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = with_suffix(path, ".tmp");
    fs::write(&temporary, bytes).map_err(Error::io(&temporary))?;
    File::open(&temporary).and_then(|f| f.sync_all()).map_err(Error::io(&temporary))?;
    fs::rename(&temporary, path).map_err(Error::io(path))
}

/// Copies a file to the part file of a destination, durably. Returns its size and SHA-256, too: of what is in the part file.
///
/// One thread copies and syncs. Another hashes what is there: the longest of the three tells how long it takes, not their sum.
/// Both end soon after the future is dropped.
pub(crate) async fn copy_part(source: &Path, dest: &Path, progress: &dyn Progress) -> Result<(Part, u64, String)> {
    let from = tokio::fs::File::open(source).await.map_err(Error::io(source))?;
    if from.metadata().await.map_err(Error::io(source))?.is_dir() {
        return Err(Error::io(source)(std::io::ErrorKind::IsADirectory.into()));
    }
    let mut part = Part::start(dest).await?;
    // Another writer may have been waited for.
    let before = from.metadata().await.map_err(Error::io(source))?;
    let handle = || part.file.try_clone().map_err(Error::io(part.path()));
    let copying =
        Copying { from: from.into_std().await, source: source.to_owned(), to: handle()?, target: part.path.clone() };
    let hashing = Hashing { file: handle()?, path: part.path.clone() };
    let (wrote, written) = mpsc::channel();
    let (hashed, mut known) = tokio::sync::mpsc::unbounded_channel();
    let copying = tokio::task::spawn_blocking(move || copying.run(&wrote));
    let hashing = tokio::task::spawn_blocking(move || hashing.run(&written, &hashed));
    while let Some(bytes) = known.recv().await {
        progress.report(bytes, Some(before.len()));
    }
    let lost = || Error::lost_thread("copying a file");
    // Whoever copies knows better why it ended: the other one ends with it.
    let copied = copying.await.map_err(|_| lost());
    let (bytes, sha256) = hashing.await.map_err(|_| lost())??;
    let after = copied??;
    part.durable = true;
    let seen = |of: &fs::Metadata| (of.len(), of.modified().ok());
    // A pipe, or a file that the kernel makes up, has no length.
    if before.is_file() && before.len() > 0 && (seen(&before) != seen(&after) || after.len() != bytes) {
        return Err(Error::io(source)(std::io::Error::other("the file changed while it was read")));
    }
    Ok((part, bytes, sha256))
}

/// A file on its way into another.
struct Copying {
    from: File,
    source: PathBuf,
    to: File,
    target: PathBuf,
}

impl Copying {
    /// Copies piece by piece, tells how much is there after each, and makes it durable. Returns what the source is by then.
    fn run(mut self, wrote: &mpsc::Sender<u64>) -> Result<fs::Metadata> {
        let mut done = 0;
        loop {
            // By the kernel alone, where that can be.
            let piece = std::io::copy(&mut (&mut self.from).take(COPY_BYTES as u64), &mut self.to)
                .map_err(|error| Error::io(self.at_fault(done))(error))?;
            done += piece;
            if piece == 0 {
                break;
            }
            if wrote.send(done).is_err() {
                return Err(Error::Cancelled);
            }
        }
        self.to.sync_all().map_err(Error::io(&self.target))?;
        self.from.metadata().map_err(Error::io(&self.source))
    }
}

impl Copying {
    /// Which of the two files an error of the kernel's copy is about, which does not say.
    fn at_fault(&self, done: u64) -> &Path {
        if read_at(&self.from, &mut [0], done).is_err() { &self.source } else { &self.target }
    }
}

/// A file that is hashed while it is written.
struct Hashing {
    file: File,
    path: PathBuf,
}

impl Hashing {
    /// Reads as far as it is written, until nobody writes any more, and tells how far it is.
    fn run(
        self,
        written: &mpsc::Receiver<u64>,
        hashed: &tokio::sync::mpsc::UnboundedSender<u64>,
    ) -> Result<(u64, String)> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; HASH_BYTES];
        let mut done = 0;
        // Elsewhere the handles share one place in the file: whoever writes has to be done before.
        #[cfg(not(unix))]
        let written = written.iter().last();
        for end in written {
            while done < end {
                let most = (end - done).min(HASH_BYTES as u64) as usize;
                let n = read_at(&self.file, &mut buffer[..most], done).map_err(Error::io(&self.path))?;
                if n == 0 {
                    return Err(Error::io(&self.path)(std::io::ErrorKind::UnexpectedEof.into()));
                }
                hash.update(&buffer[..n]);
                done += n as u64;
            }
            if hashed.send(done).is_err() {
                return Err(Error::Cancelled);
            }
        }
        Ok((done, hex(&hash.finalize())))
    }
}

/// Reads from a place in a file, wherever others read or write.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, buffer, offset);
    #[cfg(not(unix))]
    {
        use std::io::{Seek, SeekFrom};
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.read(buffer)
    }
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// The file cannot be read.
///
/// # Panics
/// Without a tokio runtime.
pub async fn sha256(path: impl AsRef<Path>) -> Result<String> {
    Ok(fingerprint(path.as_ref()).await?.1)
}

/// A file's size and SHA-256, taken on a thread that may block. It ends when the future is dropped.
pub(crate) async fn fingerprint(path: &Path) -> Result<(u64, String)> {
    let path: PathBuf = path.to_owned();
    let wanted = Arc::new(());
    let still = Arc::downgrade(&wanted);
    let work = move || {
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; HASH_BYTES];
        let mut bytes = 0;
        loop {
            if still.strong_count() == 0 {
                return Err(Error::Cancelled);
            }
            let n = file.read(&mut buffer).map_err(Error::io(&path))?;
            if n == 0 {
                return Ok((bytes, hex(&hash.finalize())));
            }
            bytes += n as u64;
            hash.update(&buffer[..n]);
        }
    };
    let outcome = tokio::task::spawn_blocking(work).await;
    drop(wanted);
    outcome.unwrap_or_else(|_| Err(Error::lost_thread("reading a file")))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Is this a file on its way?
pub(crate) fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => a.ino() == b.ino() && a.dev() == b.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_: &File, path: &Path) -> bool {
    path.exists() // an open file cannot be renamed there
}

/// Makes a rename durable.
fn sync_folder_of(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_appears_on_commit_and_a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().join("sub/a.txt");
        let mut part = Part::create(&dest, &()).unwrap();
        part.file.write_all(b"half").unwrap();
        assert!(!dest.exists());
        drop(part);
        assert!(!part_path(&dest).exists());

        let mut part = Part::create(&dest, &()).unwrap();
        part.file.write_all(b"whole").unwrap();
        part.commit().unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"whole");
        assert!(!part_path(&dest).exists());
    }

    #[test]
    fn a_file_is_not_made_of_itself_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.txt");
        fs::write(&source, "a").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let mut names = vec![source.clone(), folder.path().join("sub/../a.txt")];
        #[cfg(unix)]
        {
            let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
            fs::hard_link(&source, &hard).unwrap();
            std::os::unix::fs::symlink("a.txt", &soft).unwrap();
            names.extend([hard, soft]);
        }
        for name in names {
            let error = apart(&source, &[folder.path().join("none"), name.clone()]).unwrap_err();
            assert!(matches!(&error, Error::Invalid(words) if words.contains("name another target")), "{error}");
            assert!(apart(&name, std::slice::from_ref(&source)).is_err(), "{}", name.display());
        }
        fs::write(folder.path().join("b.txt"), "a").unwrap();
        assert!(apart(&source, &[folder.path().join("b.txt"), folder.path().join("none")]).is_ok());
        assert!(apart(&folder.path().join("none"), std::slice::from_ref(&source)).is_ok());
    }

    #[test]
    fn a_second_writer_waits_and_never_touches_the_finished_file() {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().join("a.txt");
        let mut first = Part::create(&dest, &()).unwrap();
        first.file.write_all(b"first").unwrap();
        let opened_before = OpenOptions::new().read(true).write(true).open(part_path(&dest)).unwrap();
        assert!(Part::try_open(&dest).unwrap().is_none(), "locked");
        first.commit().unwrap();
        assert!(!is_same_file(&opened_before, &part_path(&dest)));
        assert!(Part::try_open(&dest).unwrap().is_some());
        assert_eq!(fs::read(&dest).unwrap(), b"first");
    }
}
