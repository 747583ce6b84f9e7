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
#[cfg(feature = "lazy")]
use flow_data::polars::prelude::{IntoLazy, LazyFrame};
use flow_data::{FrameFile, Shape, frame_path, read_frame, write_frame};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use tokio::runtime::{Handle, RuntimeFlavor};

/// A table that tasks hand on: polars' `DataFrame`, cheap to clone and to share.
///
/// In one process the next task gets the very table. It is kept as Parquet under the home folder (`xcom/`), and its value in
/// the store says what it is: rows, columns, first rows. After a restart, or in another process, the file is read when somebody asks
/// for the table.
///
/// With the feature `lazy` it may be a query (`LazyFrame`), whose rows go into that file without ever being all in memory.
#[derive(Clone)]
pub struct Frame(Arc<Inner>);

struct Inner {
    /// The query that gives it, as long as that did not run.
    #[cfg(feature = "lazy")]
    query: Mutex<Option<LazyFrame>>,
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

impl Inner {
    fn new(table: OnceLock<DataFrame>, kept: OnceLock<(FrameFile, PathBuf)>) -> Inner {
        Inner {
            #[cfg(feature = "lazy")]
            query: Mutex::default(),
            table,
            kept,
            works: Mutex::new(()),
        }
    }
}

impl Frame {
    /// A table that was made here.
    pub fn new(table: DataFrame) -> Frame {
        Frame(Arc::new(Inner::new(OnceLock::from(table), OnceLock::new())))
    }

    /// What a query gives. It runs once: when the task returns it, into its file, or when somebody asks for the table before.
    #[cfg(feature = "lazy")]
    pub fn from_lazy(query: LazyFrame) -> Frame {
        Frame(Arc::new(Inner { query: Mutex::new(Some(query)), ..Inner::new(OnceLock::new(), OnceLock::new()) }))
    }

    /// A query over it: over the table, if that is in memory, without a copy; else over its file, of which it reads the columns
    /// and the groups of rows that it needs. A query that did not run yet is continued.
    ///
    /// polars runs a query by `collect()`, which blocks, and panics on an async thread.
    ///
    /// # Errors
    /// Its file is gone, or has another size than what was written. A file that was changed in its midst is told by [`Frame::df`],
    /// which reads all of it, and by a query only if it cannot be decoded.
    #[cfg(feature = "lazy")]
    pub fn lazy(&self) -> Result<LazyFrame, flow_data::Error> {
        let query = self.0.query.lock().clone();
        if let Some(table) = self.0.table.get() {
            return Ok(table.clone().lazy());
        }
        if let Some(query) = query {
            return Ok(query);
        }
        let (file, folder) = self.kept()?;
        flow_data::scan_frame(folder, file)
    }

    /// The table. Where it was not made or read in this process before, its file is read, or its query runs, which blocks.
    ///
    /// # Errors
    /// Its file is gone, or damaged; its query goes wrong.
    pub fn df(&self) -> Result<&DataFrame, flow_data::Error> {
        if let Some(table) = self.0.table.get() {
            return Ok(table);
        }
        // Of ten tasks that ask at once one reads.
        let _mine = self.0.works.lock();
        if let Some(table) = self.0.table.get() {
            return Ok(table);
        }
        #[cfg(feature = "lazy")]
        if let Some(query) = self.query() {
            let table = may_block(|| flow_data::run_query(query))?;
            let table = self.0.table.get_or_init(|| table);
            self.ran();
            return Ok(table);
        }
        let (file, folder) = self.kept()?;
        let table = read_frame(folder, &file.sha256)?;
        Ok(self.0.table.get_or_init(|| table))
    }

    fn kept(&self) -> Result<&(FrameFile, PathBuf), flow_data::Error> {
        let missing = || flow_data::Error::Invalid("this frame was neither made nor kept".into());
        self.0.kept.get().ok_or_else(missing)
    }

    /// How many rows it has; nothing is read for that. A query that did not run yet runs now.
    ///
    /// # Panics
    /// That query goes wrong.
    pub fn rows(&self) -> u64 {
        let made = || self.df().unwrap_or_else(|e| panic!("its rows cannot be counted: {e}")).height() as u64;
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
        let file = may_block(|| self.write(folder))?;
        let (first, of) = self.0.kept.get_or_init(|| (file.clone(), folder.to_owned()));
        // Kept in another home before, it is found there under that name, and here by its file.
        if of == folder && first.sha256 == file.sha256 {
            ALIVE.lock().insert(file.sha256.clone(), Arc::downgrade(&self.0));
        }
        Ok(file)
    }

    fn write(&self, folder: &Path) -> Result<FrameFile, flow_data::Error> {
        #[cfg(feature = "lazy")]
        {
            // Who asks for the table meanwhile, or keeps it too, waits for the file.
            let _mine = self.0.works.lock();
            if let (Some(query), None) = (self.query(), self.0.table.get()) {
                let file = flow_data::write_query(query, folder)?;
                self.0.kept.get_or_init(|| (file.clone(), folder.to_owned()));
                self.ran();
                return Ok(file);
            }
            if let Some((file, of)) = self.0.kept.get()
                && of == folder
                && self.0.table.get().is_none()
                && self.path().is_some_and(|path| path.exists())
            {
                return Ok(file.clone());
            }
        }
        write_frame(self.df()?, folder)
    }
}

#[cfg(feature = "lazy")]
impl Frame {
    /// The query, if it did not run yet.
    fn query(&self) -> Option<LazyFrame> {
        self.0.query.lock().clone()
    }

    /// Lets go of the query, and of all that it holds. The table or its file is there by now.
    fn ran(&self) {
        *self.0.query.lock() = None;
    }
}

/// Does work that takes its time where it keeps nobody from theirs, and where polars may start a runtime.
fn may_block<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // Of a runtime of one thread this may be that thread.
        Ok(_) => std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic))),
        Err(_) => work(),
    }
}

impl From<DataFrame> for Frame {
    fn from(table: DataFrame) -> Frame {
        Frame::new(table)
    }
}

#[cfg(feature = "lazy")]
impl From<LazyFrame> for Frame {
    fn from(query: LazyFrame) -> Frame {
        Frame::from_lazy(query)
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        #[cfg(feature = "lazy")]
        if self.query().is_some() {
            return f.write_str("Frame(a query)");
        }
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
        let file = self.keep(&folder(&home)).map_err(value::unkept)?;
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
        let inner = Arc::new(Inner::new(OnceLock::new(), kept));
        alive.insert(sha256, Arc::downgrade(&inner));
        Ok(Frame(inner))
    }
}
