//! Values on their way from task to task: what a body gets, and what it gives.
//!
//! A value is JSON in the store and itself in memory. Inside one process the next task gets the very value, shared
//! behind an `Arc`; only after a restart is it decoded from its text.

use anyhow::{Context as _, anyhow};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::path::Path;
use std::sync::{Arc, OnceLock};

tokio::task_local! {
    /// The home folder of the try whose arguments are decoded, or whose value is encoded.
    static HOME: Arc<Path>;
}

/// Runs a body with this home folder: values that are more than their JSON keep the rest there.
pub(crate) async fn at_home<T>(home: Arc<Path>, body: impl Future<Output = T>) -> T {
    HOME.scope(home, body).await
}

/// The same, on this thread.
pub(crate) fn at_home_blocking<T>(home: Arc<Path>, body: impl FnOnce() -> T) -> T {
    HOME.sync_scope(home, body)
}

thread_local! {
    /// Why the value that is being written on this thread cannot be kept: serde hands on a text alone.
    static WHY: std::cell::Cell<Option<anyhow::Error>> = const { std::cell::Cell::new(None) };
}

/// What a task returned is good, and what it has besides its JSON could not be kept, for the reason that is this one's cause.
#[derive(Debug, thiserror::Error)]
#[error("what the task returned could not be kept")]
pub(crate) struct Unkept;

/// The error of a value that cannot keep what it has besides its JSON.
#[cfg(feature = "data")]
pub(crate) fn unkept<E: serde::ser::Error>(why: impl std::error::Error + Send + Sync + 'static) -> E {
    let error = E::custom(&why);
    WHY.set(Some(anyhow::Error::new(why).context(Unkept)));
    error
}

/// The home folder of the body that runs here, if one does.
#[cfg(feature = "data")]
pub(crate) fn home() -> Option<Arc<Path>> {
    HOME.try_with(Clone::clone).ok()
}

/// What stands in the text of a value before the SHA-256 of each file that it has besides, `xcom/ab/abcd...parquet`.
pub(crate) const FILE: &str = "\"$frame\":\"";

/// The SHA-256 of all files that a value has besides its text.
pub(crate) fn files(json: &str) -> impl Iterator<Item = &str> {
    let is_hash = |hash: &&str| hash.bytes().all(|b| b.is_ascii_hexdigit());
    json.split(FILE).skip(1).filter_map(|rest| rest.get(..64)).filter(is_hash)
}

/// What a task may return: anything that serde writes and reads. Implemented for all such types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between tasks",
    label = "this type cannot be written and read as JSON",
    note = "put `#[value]` on its definition (or derive serde's Serialize and Deserialize)",
    note = "a `Secret` cannot be returned by a task: values are stored"
)]
pub trait Value: Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Value for T {}

/// What a task may take: anything that serde reads. Implemented for all such types, [`Secret`](crate::Secret) among them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a task",
    label = "this type cannot be read from JSON",
    note = "put `#[value]` on its definition (or derive serde's Deserialize)"
)]
pub trait TaskArgument: DeserializeOwned + Send + Sync + 'static {}
impl<T: DeserializeOwned + Send + Sync + 'static> TaskArgument for T {}

/// A value of unknown type: its JSON text and, once it was made or read in this process, the value itself. Clones share
/// both.
#[derive(Clone)]
pub struct Erased(Arc<Cell>);

struct Cell {
    json: Arc<str>,
    /// As the type that it was made as, or first read as.
    value: OnceLock<Shared>,
    /// As other types that it was read as: a `T` that somebody takes as an `Option<T>`.
    others: Mutex<Vec<Shared>>,
}

type Shared = Arc<dyn Any + Send + Sync>;

impl std::fmt::Debug for Erased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the text: it may be a secret's.
        let shared = if self.0.value.get().is_some() { ", shared" } else { "" };
        write!(f, "Erased({} bytes of JSON{shared})", self.0.json.len())
    }
}

impl Erased {
    /// Encodes a value and keeps it.
    ///
    /// # Errors
    /// If serde cannot write it as JSON (a map with keys that are not text, for example), or could not read it back; or if a table
    /// in it cannot be kept.
    pub fn new<T: Value>(value: T) -> anyhow::Result<Erased> {
        WHY.take();
        let unwritten = |error| match WHY.take() {
            Some(why) => why,
            None => anyhow::Error::new(error).context("the return value cannot be written as JSON"),
        };
        let json = serde_json::to_string(&value).map_err(unwritten)?;
        // serde_json writes `null` for a float that is not finite.
        if json.contains("null") {
            serde_json::from_str::<T>(&json).context(
                "the return value cannot be read back from JSON, as it must be after a restart (is there a float that is NaN or infinite?)",
            )?;
        }
        Ok(Erased::cell(json.into(), OnceLock::from(Arc::new(value) as Shared)))
    }

    fn cell(json: Arc<str>, value: OnceLock<Shared>) -> Erased {
        Erased(Arc::new(Cell { json, value, others: Mutex::default() }))
    }

    /// A value of which only the text is there.
    pub fn from_json(json: impl Into<Arc<str>>) -> Erased {
        Erased::cell(json.into(), OnceLock::new())
    }

    /// Its JSON text.
    pub fn json(&self) -> &Arc<str> {
        &self.0.json
    }

    /// The value, shared without a copy if it is here as this type; else decoded, and shared from then on.
    pub(crate) fn share<T: TaskArgument>(&self) -> Result<Arc<T>, serde_json::Error> {
        let cell = &*self.0;
        let here = |any: &Shared| any.clone().downcast::<T>().ok();
        if let Some(value) = cell.value.get().and_then(here) {
            return Ok(value);
        }
        let mut others = cell.others.lock();
        if let Some(value) = others.iter().find_map(here) {
            return Ok(value);
        }
        let value: Arc<T> = Arc::new(serde_json::from_str(&cell.json)?);
        if let Err(shared) = cell.value.set(value.clone()) {
            others.push(shared);
        }
        Ok(value)
    }
}

/// The arguments of one try, in the order of [`Dag`](flow_core::Dag) inputs.
#[derive(Debug, Clone, Default)]
pub struct Inputs(Vec<Erased>);

impl Inputs {
    /// These values, in order.
    pub fn new(values: Vec<Erased>) -> Inputs {
        Inputs(values)
    }

    /// The JSON texts, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(Erased::json)
    }

    fn get(&self, index: usize, name: &str) -> anyhow::Result<&Erased> {
        self.0
            .get(index)
            .ok_or_else(|| anyhow!(InputError(format!("argument `{name}` (number {index}) was not given"))))
    }

    /// The argument as a shared reference-counted value (for `&T`).
    ///
    /// # Errors
    /// [`InputError`] if it is missing or its text is not a `T`.
    pub fn shared<T: TaskArgument>(&self, index: usize, name: &str) -> anyhow::Result<Arc<T>> {
        self.get(index, name)?.share().map_err(|e| undecodable::<T>(name, &e))
    }

    fn decoded<T: TaskArgument>(&self, index: usize, name: &str) -> anyhow::Result<T> {
        serde_json::from_str(self.get(index, name)?.json()).map_err(|e| undecodable::<T>(name, &e))
    }
}

/// An argument that could not be made; the message names it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InputError(pub String);

fn undecodable<T>(name: &str, error: &serde_json::Error) -> anyhow::Error {
    // serde's text quotes the value, which may be a secret: only its kind and place are told.
    let what = if std::any::type_name::<T>().contains("Secret<") { String::new() } else { format!(": {error}") };
    let is_null = error.to_string().starts_with("invalid type: null");
    let how = if is_null {
        "; a task that was marked as success gives null: if one above was, clear it to let it run"
    } else {
        ""
    };
    anyhow!(InputError(format!("argument `{name}` is not a `{}`{what}{how}", short_type_name::<T>())))
}

/// A return value that could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("the return value cannot be kept")]
pub struct OutputError;

/// A type's name without the paths: `Vec<Trip>` for `alloc::vec::Vec<app::Trip>`.
pub fn short_type_name<T: ?Sized>() -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in std::any::type_name::<T>().chars() {
        if c.is_alphanumeric() || c == '_' || c == ':' {
            word.push(c);
        } else {
            out.push_str(word.rsplit("::").next().unwrap_or(""));
            word.clear();
            out.push(c);
        }
    }
    out + word.rsplit("::").next().unwrap_or("")
}

/// Chooses how an owned argument is made: cloned where its type can be (`ByClone`), else decoded (`ByDecode`). The
/// shared value itself is never given away, so that a retry finds it again. Generated code calls
/// `(&owned::<T>()).take(..)`, and method lookup prefers the first.
pub struct Owned<T> {
    share: fn(&Inputs, usize, &str) -> anyhow::Result<Arc<T>>,
    decode: fn(&Inputs, usize, &str) -> anyhow::Result<T>,
}

/// A chooser for this type. A function of its own, so that the only bound a type can miss is `TaskArgument`, with its
/// message.
pub fn owned<T: TaskArgument>() -> Owned<T> {
    Owned { share: Inputs::shared::<T>, decode: Inputs::decoded::<T> }
}

/// See [`Owned`].
pub trait ByClone<T> {
    /// The argument as an owned value.
    ///
    /// # Errors
    /// [`InputError`] if it is missing or its text is not a `T`.
    fn take(&self, inputs: &Inputs, index: usize, name: &str) -> anyhow::Result<T>;
}

impl<T: Clone> ByClone<T> for Owned<T> {
    fn take(&self, inputs: &Inputs, index: usize, name: &str) -> anyhow::Result<T> {
        (self.share)(inputs, index, name).map(Arc::unwrap_or_clone)
    }
}

/// See [`Owned`].
pub trait ByDecode<T> {
    /// The argument as an owned value.
    ///
    /// # Errors
    /// [`InputError`] if it is missing or its text is not a `T`.
    fn take(&self, inputs: &Inputs, index: usize, name: &str) -> anyhow::Result<T>;
}

impl<T> ByDecode<T> for &Owned<T> {
    fn take(&self, inputs: &Inputs, index: usize, name: &str) -> anyhow::Result<T> {
        (self.decode)(inputs, index, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct NotClone(u8);

    #[test]
    fn a_value_made_here_is_shared_not_decoded() {
        let big = Erased::new(vec![1u8; 10]).unwrap();
        let inputs = Inputs::new(vec![big.clone(), big]);
        let (a, b) = (inputs.shared::<Vec<u8>>(0, "a").unwrap(), inputs.shared::<Vec<u8>>(1, "b").unwrap());
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn a_value_is_decoded_once_for_each_type_it_is_taken_as() {
        let text = Erased::from_json("[1,2]");
        let inputs = Inputs::new(vec![text.clone(), text]);
        let (a, b) = (inputs.shared::<Vec<u8>>(0, "a").unwrap(), inputs.shared::<Vec<u8>>(1, "b").unwrap());
        assert!(Arc::ptr_eq(&a, &b));
        let (c, d) =
            (inputs.shared::<Option<Vec<u8>>>(0, "c").unwrap(), inputs.shared::<Option<Vec<u8>>>(1, "d").unwrap());
        assert!(Arc::ptr_eq(&c, &d) && c.as_deref() == Some(&[1, 2]));
    }

    #[test]
    fn what_cannot_be_read_back_is_refused() {
        let error = format!("{:#}", Erased::new(vec![1.0, f64::NAN]).unwrap_err());
        assert!(error.contains("is there a float that is NaN or infinite?"), "{error}");
        assert!(Erased::new(vec![Some(1.0), None]).is_ok());
    }

    #[test]
    fn owned_arguments_are_cloned_or_decoded_and_stay_for_the_next_try() {
        let inputs = Inputs::new(vec![Erased::new(NotClone(7)).unwrap(), Erased::from_json("\"x\"")]);
        for _ in 0..2 {
            assert_eq!((&owned::<NotClone>()).take(&inputs, 0, "n").unwrap(), NotClone(7));
            assert_eq!(owned::<String>().take(&inputs, 1, "s").unwrap(), "x");
        }
    }

    #[test]
    fn a_wrong_text_names_the_argument_and_hides_a_secret() {
        let inputs = Inputs::new(vec![Erased::from_json("\"hunter2\"")]);
        let error = inputs.shared::<u8>(0, "count").unwrap_err().to_string();
        assert!(error.contains("argument `count` is not a `u8`"), "{error}");
        let error = inputs.shared::<crate::Secret<u8>>(0, "pin").unwrap_err().to_string();
        assert_eq!(error, "argument `pin` is not a `Secret<u8>`");
    }
}
