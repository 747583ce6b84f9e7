//! Tables on their way from task to task.
//!
//! ```
//! use flow_runtime::data::polars::prelude::*;
//! use flow_runtime::prelude::*;
//!
//! /// What was sold.
//! #[task]
//! fn sales() -> Result<Frame> {
//!     Ok(df!["shop" => ["a", "b", "a"], "sum" => [1.5, 2.0, 4.0]]?.into())
//! }
//!
//! /// How many there were; takes the very table, without a copy.
//! #[task]
//! fn count(sales: &Frame) -> Result<usize> {
//!     Ok(sales.df()?.height())
//! }
//!
//! #[dag]
//! fn shops() {
//!     count(sales());
//! }
//!
//! assert_eq!(shops::test().run_blocking().succeeded().value::<usize>("count"), 3);
//! ```

use crate::value;
use flow_data::polars::prelude::DataFrame;
use flow_data::{FrameFile, Shape, frame_path, read_frame, write_frame};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

/// A table that tasks hand on: polars' `DataFrame`, cheap to clone and to share.
///
/// In one process the next task gets the very table. It is kept as Parquet under the home folder (`xcom/`), and its value in
/// the store says what it is: rows, columns, first rows. After a restart, or in another process, the file is read when somebody asks
/// for the table.
#[derive(Clone)]
pub struct Frame(Arc<Inner>);

struct Inner {
    /// The table, once it was made or read here.
    table: OnceLock<DataFrame>,
    /// What is kept of it, and under which folder, once it was.
    kept: OnceLock<(FrameFile, PathBuf)>,
    /// Held by whoever keeps or reads it.
    works: Mutex<()>,
}

/// A frame in the JSON of a value.
#[derive(Serialize, Deserialize)]
struct Written {
    /// The file; under this name the store looks for those that are needed.
    #[serde(rename = "$frame")]
    sha256: String,
    bytes: u64,
    rows: u64,
    columns: Vec<Shape>,
    head: Vec<Vec<Option<String>>>,
}

/// The frames of this process that somebody still has, by their SHA-256: a value that was decoded from its text is the same table.
static ALIVE: LazyLock<Mutex<HashMap<String, Weak<Inner>>>> = LazyLock::new(Mutex::default);

impl Frame {
    /// A table that was made here.
    pub fn new(table: DataFrame) -> Frame {
        Frame(Arc::new(Inner { table: OnceLock::from(table), kept: OnceLock::new(), works: Mutex::new(()) }))
    }

    /// The table. Where it was not made or read in this process before, its file is read, which blocks.
    ///
    /// # Errors
    /// Its file is gone, or damaged.
    pub fn df(&self) -> Result<&DataFrame, flow_data::Error> {
        if let Some(table) = self.0.table.get() {
            return Ok(table);
        }
        // Of ten tasks that ask at once one reads.
        let _mine = self.0.works.lock();
        if let Some(table) = self.0.table.get() {
            return Ok(table);
        }
        let missing = || flow_data::Error::Invalid("this frame was neither made nor kept".into());
        let (file, folder) = self.0.kept.get().ok_or_else(missing)?;
        let table = read_frame(folder, &file.sha256)?;
        Ok(self.0.table.get_or_init(|| table))
    }

    /// How many rows it has; nothing is read for that.
    pub fn rows(&self) -> u64 {
        let made = || self.0.table.get().map_or(0, |table| table.height() as u64);
        self.0.kept.get().map_or_else(made, |(file, _)| file.rows)
    }

    /// The Parquet file that it is kept in: to be uploaded, or loaded into a database. `None` as long as no task has returned it.
    pub fn path(&self) -> Option<PathBuf> {
        self.0.kept.get().map(|(file, folder)| frame_path(folder, &file.sha256))
    }

    /// Keeps it under this folder, unless it is there.
    fn keep(&self, folder: &Path) -> Result<FrameFile, flow_data::Error> {
        if let Some((file, of)) = self.0.kept.get() {
            let path = frame_path(of, &file.sha256);
            // Young again: what no run refers to is removed once it is old.
            let touched =
                File::options().write(true).open(&path).and_then(|f| f.set_modified(std::time::SystemTime::now()));
            if of == folder && touched.is_ok() {
                return Ok(file.clone());
            }
        }
        let file = write_frame(self.df()?, folder)?;
        let (first, of) = self.0.kept.get_or_init(|| (file.clone(), folder.to_owned()));
        // Kept in another home before, it is found there under that name, and here by its file.
        if of == folder && first.sha256 == file.sha256 {
            ALIVE.lock().insert(file.sha256.clone(), Arc::downgrade(&self.0));
        }
        Ok(file)
    }
}

impl From<DataFrame> for Frame {
    fn from(table: DataFrame) -> Frame {
        Frame::new(table)
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} rows)", self.rows())
    }
}

/// Where the tables of a home folder lie: beside its other large values.
fn folder(home: &Path) -> PathBuf {
    home.join("xcom")
}

impl Serialize for Frame {
    /// Keeps the table, and writes down what it is.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let home = value::home().ok_or_else(|| {
            S::Error::custom("a Frame is kept by the run of the task that returns it, and this is none")
        })?;
        let file = self.keep(&folder(&home)).map_err(S::Error::custom)?;
        let FrameFile { sha256, bytes, rows, columns, head } = file;
        Written { sha256, bytes, rows, columns, head }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Frame {
    /// Takes note of what it is; its file is read when somebody asks for the table.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Frame, D::Error> {
        use serde::de::Error as _;
        let Written { sha256, bytes, rows, columns, head } = Written::deserialize(deserializer)?;
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(D::Error::custom("a frame is named by 64 hexadecimal digits"));
        }
        let home =
            value::home().ok_or_else(|| D::Error::custom("a Frame is read in the run of a task, and this is none"))?;
        let mut alive = ALIVE.lock();
        let here = alive.get(&sha256).and_then(Weak::upgrade);
        if let Some(inner) = here.filter(|inner| inner.kept.get().is_some_and(|(_, of)| *of == folder(&home))) {
            return Ok(Frame(inner));
        }
        alive.retain(|_, inner| inner.strong_count() > 0);
        let file = FrameFile { sha256: sha256.clone(), bytes, rows, columns, head };
        let kept = OnceLock::from((file, folder(&home)));
        let inner = Arc::new(Inner { table: OnceLock::new(), kept, works: Mutex::new(()) });
        alive.insert(sha256, Arc::downgrade(&inner));
        Ok(Frame(inner))
    }
}
