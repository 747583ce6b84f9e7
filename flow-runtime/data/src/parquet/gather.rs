//! Rows gathered to row groups, which are encoded on a thread of its own.
//!
//! ```text
//! the caller: batches -> a group, and the next meanwhile   a thread: the group -> pages -> the file
//!                                        (none waits between)
//! ```

use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder};

use polars::prelude::PolarsResult;
use polars_arrow::array::Array;

use super::group::GroupWriter;
use super::weight::decoded;
use crate::batches::Rows;
use crate::files::{Noting, Part};
use crate::schema::Column;
use crate::{Error, Field, ParquetOptions, Progress, Result};

/// What the thread does, in words.
const ENCODING: &str = "encoding a row group";

/// A group is not ended before it takes so much for each column, whatever the options say. The footer's part about a column of a
/// group takes some 2 KB until the file is finished, and every page a few buffers.
const LEAST_OF_COLUMN: usize = 64 << 10;

/// Keys and values that a file has besides its rows.
pub(super) type Metadata = Vec<(&'static str, String)>;

/// Writes the rows that `gather` pushes as a Parquet file, with the metadata that it returns. Gives rows and bytes.
///
/// When `gather` fails, no more is encoded than the page at hand.
pub(super) fn write_gathered(
    part: &Part,
    columns: &[Column],
    options: &ParquetOptions,
    progress: &dyn Progress,
    gather: impl FnOnce(&mut Groups) -> Result<Metadata>,
) -> Result<(u64, u64)> {
    let fields: Vec<_> = columns.iter().map(Field::from).collect();
    let (out, noted) = Noting::new(&part.file);
    let failed = |error| match progress.cancelled() {
        true => Error::Cancelled,
        false => noted.error(part.path(), &error),
    };
    let writer = GroupWriter::new(BufWriter::with_capacity(1 << 20, out), &fields).map_err(failed)?;
    let wanted = Wanted { progress, no_longer: AtomicBool::new(false) };
    let (rows, metadata, writer) = thread::scope(|scope| {
        // In here, so that a panic of `gather` ends the thread, too: it ends when nobody can hand over a group any more.
        let (hand_over, groups) = sync_channel(0);
        let mut gathering = Groups::new(hand_over, columns.len(), options);
        let encoding = || encode(writer, groups, &wanted);
        let thread = Builder::new().name("flow-data".into()).spawn_scoped(scope, encoding);
        let thread = thread.map_err(Error::io(part.path()))?;
        let gathered = gather(&mut gathering).and_then(|metadata| gathering.end().map(|()| metadata));
        wanted.no_longer.store(gathered.is_err(), Ordering::Relaxed);
        let (rows, refused) = (gathering.rows, gathering.refused);
        drop(gathering);
        let encoded = thread.join().map_err(|panic| Error::panicked(ENCODING, &*panic))?;
        match (gathered, encoded) {
            (Ok(metadata), Ok(writer)) => Ok((rows, metadata, writer)),
            // A thread that takes no more groups has failed itself; else what it says is that nobody wants it any more.
            (Err(error), encoded) => Err(encoded.err().filter(|_| refused).map_or(error, failed)),
            (Ok(_), Err(error)) => Err(failed(error)),
        }
    })?;
    let bytes = writer.finish(&metadata).map_err(failed)?;
    let written = part.file.metadata().map_err(Error::io(part.path()))?.len();
    if written != bytes {
        return Err(Error::format(part.path(), format!("{written} of {bytes} bytes were written")));
    }
    Ok((rows, bytes))
}

/// Writes one group after the other, until nobody hands one over any more.
fn encode<W: Write>(
    mut writer: GroupWriter<W>,
    groups: Receiver<Gathered>,
    wanted: &Wanted<'_>,
) -> PolarsResult<GroupWriter<W>> {
    for group in groups {
        writer.write(group.columns, group.rows, wanted)?;
    }
    Ok(writer)
}

/// Asks whether the whole is wanted, and whether it can still become a file.
struct Wanted<'a> {
    progress: &'a dyn Progress,
    no_longer: AtomicBool,
}

impl Progress for Wanted<'_> {
    fn report(&self, done: u64, total: Option<u64>) {
        self.progress.report(done, total);
    }

    fn cancelled(&self) -> bool {
        self.no_longer.load(Ordering::Relaxed) || self.progress.cancelled()
    }
}

/// Rows on their way into groups.
pub(super) struct Groups {
    hand_over: SyncSender<Gathered>,
    /// The thread took one no more.
    refused: bool,
    group_rows: usize,
    group_bytes: usize,
    gathered: Gathered,
    rows: u64,
}

impl Groups {
    fn new(hand_over: SyncSender<Gathered>, columns: usize, options: &ParquetOptions) -> Self {
        let group_rows = options.row_group_rows.max(1);
        let group_bytes = options.row_group_bytes.max(columns * LEAST_OF_COLUMN);
        Self { hand_over, refused: false, group_rows, group_bytes, gathered: Gathered::of(columns), rows: 0 }
    }

    /// Adds rows. Waits while a group is complete and the one before it is still being encoded.
    pub(super) fn push(&mut self, rows: Rows) -> Result<()> {
        self.rows += rows.rows as u64;
        self.gathered.push(rows);
        if self.gathered.rows >= self.group_rows {
            while self.gathered.rows >= self.group_rows {
                let group = self.gathered.take(self.group_rows);
                self.hand_over(group)?;
            }
            self.gathered.weigh();
        }
        if self.gathered.bytes >= self.group_bytes {
            self.end()?;
        }
        Ok(())
    }

    /// What is there becomes a group, however small.
    fn end(&mut self) -> Result<()> {
        let columns = self.gathered.columns.len();
        let group = std::mem::replace(&mut self.gathered, Gathered::of(columns));
        self.hand_over(group)
    }

    fn hand_over(&mut self, group: Gathered) -> Result<()> {
        self.refused = group.rows > 0 && self.hand_over.send(group).is_err();
        if self.refused { Err(Error::lost_thread(ENCODING)) } else { Ok(()) }
    }
}

/// Rows that are to be a group, each column in pieces.
struct Gathered {
    columns: Vec<Vec<Box<dyn Array>>>,
    rows: usize,
    /// How much memory they take.
    bytes: usize,
}

impl Gathered {
    fn of(columns: usize) -> Self {
        Self { columns: vec![Vec::new(); columns], rows: 0, bytes: 0 }
    }

    fn push(&mut self, rows: Rows) {
        self.rows += rows.rows;
        self.bytes += rows.arrays.iter().map(|array| decoded(array.as_ref())).sum::<usize>();
        self.columns.iter_mut().zip(rows.arrays).for_each(|(column, array)| column.push(array));
    }

    /// Takes the first rows away. What is left has to be weighed anew.
    fn take(&mut self, rows: usize) -> Self {
        let mut taken = Self::of(self.columns.len());
        for (column, taken) in self.columns.iter_mut().zip(&mut taken.columns) {
            let mut missing = rows;
            let mut rest = Vec::new();
            for array in std::mem::take(column) {
                let cut = missing.min(array.len());
                missing -= cut;
                if cut > 0 {
                    taken.push(array.sliced(0, cut));
                }
                if cut < array.len() {
                    rest.push(array.sliced(cut, array.len() - cut));
                }
            }
            *column = rest;
        }
        taken.rows = rows.min(self.rows);
        self.rows -= taken.rows;
        taken
    }

    fn weigh(&mut self) {
        self.bytes = self.columns.iter().flatten().map(|array| decoded(array.as_ref())).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use polars_arrow::array::{MutablePlString, PrimitiveArray};
    use tempfile::tempdir;

    use super::*;
    use crate::Type;

    const COLUMNS: usize = 50;

    /// Rows of numbers that hardly pack.
    fn numbers(rows: usize) -> Rows {
        let mut next = 1i64;
        let column = |_| {
            let numbers = (0..rows).map(|_| {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                next
            });
            PrimitiveArray::from_vec(numbers.collect()).boxed()
        };
        Rows { arrays: (0..COLUMNS).map(column).collect(), rows, position: 0 }
    }

    fn written(
        part: &Part,
        group_rows: usize,
        progress: &dyn Progress,
        gather: impl FnOnce(&mut Groups) -> Result<Metadata>,
    ) -> Result<(u64, u64)> {
        let columns: Vec<_> = (0..COLUMNS).map(|n| Column { name: n.to_string(), kind: Type::Int }).collect();
        let options = ParquetOptions { row_group_rows: group_rows, ..ParquetOptions::default() };
        write_gathered(part, &columns, &options, progress, gather)
    }

    /// Does something when it is asked for the first time, and counts.
    struct Asked<F>(Mutex<Option<F>>, AtomicUsize);

    impl<F: FnOnce() + Send> Asked<F> {
        fn new(first: F) -> Self {
            Self(Mutex::new(Some(first)), AtomicUsize::new(0))
        }
    }

    impl<F: FnOnce() + Send> Progress for Asked<F> {
        fn report(&self, _: u64, _: Option<u64>) {}

        fn cancelled(&self) -> bool {
            self.1.fetch_add(1, Ordering::SeqCst);
            let first = self.0.lock().unwrap().take();
            first.into_iter().for_each(|first| first());
            false
        }
    }

    #[test]
    fn one_group_is_gathered_while_one_is_encoded_and_no_more() {
        let folder = tempdir().unwrap();
        let part = Part::create(&folder.path().join("f"), &()).unwrap();
        let pushed = AtomicUsize::new(0);
        let progress = Asked::new(|| {
            while pushed.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(100));
            assert_eq!(pushed.load(Ordering::SeqCst), 1, "the second group waits for the first");
        });
        let gather = |groups: &mut Groups| {
            for _ in 0..5 {
                groups.push(numbers(10))?;
                pushed.fetch_add(1, Ordering::SeqCst);
            }
            Ok(vec![])
        };
        assert_eq!(written(&part, 10, &progress, gather).unwrap().0, 50);
    }

    /// Somebody frees the disk, and a retry mends it.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_that_is_full_ends_the_gathering_and_may_heal() {
        let folder = tempdir().unwrap();
        let mut part = Part::create(&folder.path().join("f"), &()).unwrap();
        part.file = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let gather = |groups: &mut Groups| loop {
            groups.push(numbers(10_000))?;
        };
        let error = written(&part, 10_000, &(), gather).unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains("No space left"), "{error}");
        // A file so small that it is written at the end alone.
        let gather = |groups: &mut Groups| groups.push(numbers(1)).map(|()| vec![]);
        let error = written(&part, 10_000, &(), gather).unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains("No space left"), "{error}");
    }

    #[test]
    fn a_panic_of_the_thread_is_told() {
        let folder = tempdir().unwrap();
        let part = Part::create(&folder.path().join("f"), &()).unwrap();
        let gather = |groups: &mut Groups| loop {
            groups.push(numbers(1))?;
        };
        let error = written(&part, 1, &Asked::new(|| panic!("of this")), gather).unwrap_err();
        let text = "encoding a row group ended with a panic (of this); this is a defect";
        assert_eq!(error.to_string(), text);
        // Whatever the caller is at by then.
        let panicked = AtomicBool::new(false);
        let progress = Asked::new(|| {
            panicked.store(true, Ordering::SeqCst);
            panic!("of this");
        });
        let gather = |groups: &mut Groups| {
            groups.push(numbers(1))?;
            while !panicked.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            Err(Error::Cancelled)
        };
        assert_eq!(written(&part, 1, &progress, gather).unwrap_err().to_string(), text);
    }

    #[test]
    fn a_panic_of_the_caller_ends_the_thread() {
        let folder = tempdir().unwrap();
        let part = Part::create(&folder.path().join("f"), &()).unwrap();
        let gather = |groups: &mut Groups| {
            groups.push(numbers(1))?;
            panic!("of this");
        };
        let caught = catch_unwind(AssertUnwindSafe(|| written(&part, 1, &(), gather))).unwrap_err();
        assert_eq!(caught.downcast_ref(), Some(&"of this"));
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_encoded() {
        let folder = tempdir().unwrap();
        let part = Part::create(&folder.path().join("f"), &()).unwrap();
        let failing = AtomicBool::new(false);
        let progress = Asked::new(|| {
            while !failing.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(100));
        });
        let gather = |groups: &mut Groups| {
            groups.push(numbers(10))?;
            failing.store(true, Ordering::SeqCst);
            Err(Error::Invalid("the next row is wrong".into()))
        };
        let error = written(&part, 10, &progress, gather).unwrap_err();
        assert_eq!(error.to_string(), "the next row is wrong");
        let asked = progress.1.into_inner();
        assert!(asked < COLUMNS, "asked {asked} times");
    }

    /// Else the footer of a wide file takes more than small groups save.
    #[test]
    fn a_group_has_room_for_each_column_however_little_is_allowed() {
        let options = ParquetOptions::default().within(3);
        let (hand_over, groups) = sync_channel(8);
        let mut gathering = Groups::new(hand_over, COLUMNS, &options);
        // As much as two groups may be small, and a row.
        let rows = 2 * LEAST_OF_COLUMN / size_of::<i64>() + 1;
        (0..rows).step_by(64).for_each(|_| gathering.push(numbers(64)).unwrap());
        gathering.end().unwrap();
        drop(gathering);
        let found: Vec<_> = groups.iter().map(|group| group.rows).collect();
        assert_eq!(found, [8_192, 8_192, 64]);
    }

    /// Texts of a letter, and no texts, take room as well.
    #[test]
    fn groups_are_weighed_by_what_they_take() {
        for text in [Some("a"), None, Some("a text that is too long to be kept in the array itself")] {
            let mut gathered = Gathered::of(1);
            let mut texts = MutablePlString::with_capacity(1_000);
            (0..1_000).for_each(|_| texts.push(text));
            let array = texts.freeze().boxed();
            gathered.push(Rows { arrays: vec![array.clone()], rows: 1_000, position: 0 });
            assert!(gathered.bytes >= 16_000, "{text:?}: {}", gathered.bytes);
            gathered.push(Rows { arrays: vec![array], rows: 1_000, position: 0 });
            let whole = gathered.bytes;
            assert_eq!(gathered.take(1_000).rows, 1_000);
            gathered.weigh();
            assert_eq!(gathered.bytes, whole / 2);
        }
    }
}
