//! Notes of uploads in parts that are under way: what a killed process leaves is found by them.
//!
//! A store lists unfinished uploads, but does not say whose they are. So each process notes its own, from the answer that names
//! one to the answer that ends it, and holds the note locked: one that nobody holds is of a process that has died. So are objects
//! noted in which parts come together.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::hex;

/// How the name of every note ends.
const ENDING: &str = ".upload.json";
/// How the name of a note ends that is being written.
const BEGUN: &str = ".begun";
/// One that a killed process was writing is removed when it is as old as this.
const LEFT: Duration = Duration::from_secs(24 * 3600);

/// Those of one bucket.
#[derive(Debug)]
pub(crate) struct Notes {
    folder: PathBuf,
    /// Where it is, its scheme and its name, which another server may have too: `eu-central-1 s3://lake`.
    bucket: String,
    /// Of this process, by the names of their uploads and those of [`Notes::staged`].
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// What is noted.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// As [`Notes`] have it.
    bucket: String,
    key: String,
    /// None: the object itself is to go.
    upload_id: Option<String>,
}

/// What a process has left that has died. As long as this is there, nobody else ends it.
pub(super) struct Left {
    pub(super) key: String,
    /// The upload's name; none for an object.
    pub(super) upload_id: Option<String>,
    held: Held,
}

impl Left {
    /// It was ended.
    pub(super) fn forget(self) {
        self.held.remove();
    }
}

impl Held {
    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{}: {error}", self.path.display());
        }
    }
}

/// The same on S3 (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>) and Google
/// (<https://cloud.google.com/storage/docs/xml-api/post-object-multipart>).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    key: String,
    upload_id: String,
}

impl Notes {
    pub(super) fn new(folder: PathBuf, bucket: String) -> Self {
        Self { folder, bucket, held: Mutex::default() }
    }

    /// An upload has begun, says the store.
    pub(super) fn begun(&self, answer: &[u8]) {
        let Ok(Begun { key, upload_id }) = quick_xml::de::from_reader(answer) else { return };
        self.keep(upload_id.clone(), &Note { bucket: self.bucket.clone(), key, upload_id: Some(upload_id) });
    }

    /// Parts will come together in this object, which is deleted afterwards. The name is for [`Notes::ended`].
    pub(super) fn staged(&self, key: &str) -> String {
        let name = format!("object {:016x}", fastrand::u64(..));
        self.keep(name.clone(), &Note { bucket: self.bucket.clone(), key: key.to_owned(), upload_id: None });
        name
    }

    fn keep(&self, name: String, note: &Note) {
        match self.write(&name, note) {
            Ok(held) => drop(self.held().insert(name, held)),
            // Worth less than the upload.
            Err(error) => {
                tracing::warn!(
                    "{}: should this process be killed, parts of an upload stay: {error}",
                    self.folder.display()
                );
            }
        }
    }

    fn write(&self, name: &str, note: &Note) -> std::io::Result<Held> {
        fs::create_dir_all(&self.folder)?;
        let hash = &hex(&Sha256::digest(format!("{}\0{name}", note.bucket)))[..20];
        // Objects come last, by their names: parts that are aborted later could still become the object that was deleted.
        let name = if note.upload_id.is_some() { hash.to_owned() } else { format!("object-{hash}") };
        let path = self.folder.join(format!("{name}{ENDING}"));
        let begun = self.folder.join(format!("{name}{BEGUN}"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&begun)?;
        let written = fill(&file, note).and_then(|()| fs::rename(&begun, &path));
        if written.is_err() {
            let _gone = fs::remove_file(&begun);
        }
        written.map(|()| Held { path, _lock: file })
    }

    /// The upload of this name has ended; or what was [`staged`](Notes::staged) is gone.
    pub(super) fn ended(&self, name: &str) {
        if let Some(held) = self.held().remove(name) {
            held.remove();
        }
    }

    /// Where all notes are, those of objects last. What was not written to its end, long ago, is removed.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for entry in self.folder.read_dir().into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(ENDING) {
                paths.push(entry.path());
            } else if name.ends_with(BEGUN) {
                let changed = entry.metadata().and_then(|metadata| metadata.modified());
                if changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > LEFT)) {
                    let _gone = fs::remove_file(entry.path());
                }
            }
        }
        paths.sort();
        paths
    }

    /// What the note there is of, if that is in this bucket and its process has died. One that cannot be read (a disk that was full or
    /// is damaged) is removed, for nobody would ever know what it is of; one of another version, which says other things, stays.
    pub(super) fn take(&self, path: &Path) -> Option<Left> {
        let mut file = File::open(path).ok()?;
        // Where a folder knows no locks, nobody is known to have died.
        file.try_lock().ok()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        let held = Held { path: path.to_owned(), _lock: file };
        let note: Note = match serde_json::from_slice(&text) {
            Ok(note) => note,
            Err(error) if error.is_data() => return None,
            Err(error) => {
                tracing::warn!(
                    "{}: this note of an upload cannot be read ({error}), and is removed. Parts of that upload may be in a store \
                     still: `Lake::clean` removes them",
                    path.display()
                );
                held.remove();
                return None;
            }
        };
        (note.bucket == self.bucket).then_some(Left { key: note.key, upload_id: note.upload_id, held })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks a note before anybody can find it, and writes it.
fn fill(mut file: &File, note: &Note) -> std::io::Result<()> {
    file.lock()?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(notes: &Notes) -> Vec<Left> {
        notes.paths().iter().filter_map(|path| notes.take(path)).collect()
    }

    fn answer(key: &str, id: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Bucket>lake</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        )
    }

    #[test]
    fn a_note_is_there_while_the_upload_is_and_is_left_by_who_died() {
        let folder = tempfile::tempdir().unwrap();
        let notes = |bucket: &str| Notes::new(folder.path().join("notes"), bucket.into());
        let (one, other) = (notes("s3://lake"), notes("s3://lake"));
        assert!(left(&one).is_empty());
        one.begun(answer("raw/a &amp; b", "id/1+").as_bytes());
        one.begun(answer("raw/c", "2").as_bytes());
        one.begun(b"<Error/>");
        assert!(left(&other).is_empty(), "it lives");
        let stage = one.staged("raw/c.part-1");
        one.staged("raw/d.part-2");
        one.ended("2");
        one.ended(&stage);
        one.ended("nobody's");
        // Its files are closed, as those of a process that is killed.
        drop(one);
        assert!(left(&notes("s3://another")).is_empty());
        let found = left(&other);
        let told: Vec<_> = found.iter().map(|left| (&*left.key, left.upload_id.as_deref())).collect();
        assert_eq!(told, [("raw/a & b", Some("id/1+")), ("raw/d.part-2", None)]);
        assert!(left(&notes("s3://lake")).is_empty(), "somebody is at it");
        found.into_iter().for_each(Left::forget);
        assert_eq!(folder.path().join("notes").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_note_that_cannot_be_read_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(folder.path().to_owned(), "s3://lake".into());
        let whole = r#"{"bucket":"s3://lake","key":"f","upload_id":"1"}"#;
        for (name, text) in
            [("a", ""), ("b", "\0\0\0"), ("c", &whole[..20]), ("d", r#"{"of":"a later version"}"#), ("e", whole)]
        {
            fs::write(folder.path().join(format!("{name}{ENDING}")), text).unwrap();
        }
        // As long as somebody holds it, it may become one.
        let busy = File::open(folder.path().join(format!("c{ENDING}"))).unwrap();
        busy.lock().unwrap();
        assert_eq!(left(&notes).len(), 1);
        let there = || {
            let paths =
                notes.paths().into_iter().map(|path| path.file_name().unwrap().to_string_lossy()[..1].to_owned());
            paths.collect::<String>()
        };
        assert_eq!(there(), "cde");
        drop(busy);
        assert_eq!((left(&notes).len(), there()), (1, "de".to_owned()));
    }

    #[test]
    fn a_note_that_was_not_written_to_its_end_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(folder.path().to_owned(), "s3://lake".into());
        for (name, age) in [("old.begun", LEFT * 2), ("young.begun", LEFT / 2), ("old.other", LEFT * 2)] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
        assert!(notes.paths().is_empty());
        let there = || {
            let mut names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(there(), ["old.other", "young.begun"]);
        // A folder stands where a note should.
        let note = Note { bucket: "s3://lake".into(), key: "f".into(), upload_id: Some("1".into()) };
        let held = notes.write("1", &note).unwrap();
        held.remove();
        fs::create_dir_all(held.path.join("in the way")).unwrap();
        assert!(notes.write("1", &note).is_err());
        assert_eq!(there().len(), 3, "{:?}", there());
    }
}
