//! Elements of JSON lists, found without decoding them.

use flow_core::TaskIx;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A JSON list and where its elements stand in its text.
#[derive(Debug)]
pub(super) struct List {
    text: Arc<str>,
    elements: Vec<Range<usize>>,
}

impl List {
    /// The elements of a JSON array, or of a JSON object as pairs `[key, value]`; `None` for anything else.
    pub(super) fn of(text: &Arc<str>) -> Option<List> {
        if !text.trim_start().starts_with('[') {
            return List::of(&pairs(text)?);
        }
        let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        let start = text.as_ptr() as usize;
        let place = |element: &&RawValue| {
            let from = element.get().as_ptr() as usize - start;
            from..from + element.get().len()
        };
        let elements = raw.iter().map(place).collect();
        Some(List { text: text.clone(), elements })
    }

    /// The text of one element.
    pub(super) fn get(&self, index: usize) -> Option<&str> {
        self.elements.get(index).map(|place| &self.text[place.clone()])
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }
}

fn pairs(text: &str) -> Option<Arc<str>> {
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    serde_json::to_string(&map.iter().collect::<Vec<_>>()).ok().map(Into::into)
}

/// A JSON list of these texts.
pub(super) fn join<T: AsRef<str>>(elements: impl IntoIterator<Item = T>) -> String {
    let mut out = String::from("[");
    for (n, element) in elements.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(element.as_ref());
    }
    out.push(']');
    out
}

/// The lists that tasks under way are mapped over, each taken apart once: by task and number of the argument.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lists: HashMap<(TaskIx, usize), Arc<List>>,
    /// How often an output was taken back.
    anew: u64,
}

impl Lists {
    pub(super) fn get(&self, task: TaskIx, input: usize) -> Option<Arc<List>> {
        self.0.lock().lists.get(&(task, input)).cloned()
    }

    /// Of what was found while outputs had been taken back so often: if another was since, it may lack that, and is not kept.
    pub(super) fn put(&self, task: TaskIx, input: usize, list: Arc<List>, anew: u64) {
        let mut inner = self.0.lock();
        if inner.anew == anew {
            inner.lists.insert((task, input), list);
        }
    }

    /// An output is about to be taken back: some of them are made anew.
    pub(super) fn forget_all(&self) {
        let mut inner = self.0.lock();
        inner.lists.clear();
        inner.anew += 1;
    }

    /// How often an output of the run was taken back: who finds another number afterwards may have seen a part of a change.
    pub(super) fn anew(&self) -> u64 {
        self.0.lock().anew
    }

    /// The task has finished.
    pub(super) fn forget(&self, task: TaskIx) {
        self.0.lock().lists.retain(|(t, _), _| *t != task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Option<Vec<String>> {
        let list = List::of(&text.into())?;
        Some((0..list.len()).map(|i| list.get(i).unwrap().to_string()).collect())
    }

    #[test]
    fn lists_are_taken_apart_and_put_together() {
        let parts = elements(" [1, \"a,]\" ,{\"k\": [2]},null]").unwrap();
        assert_eq!(parts, ["1", "\"a,]\"", "{\"k\": [2]}", "null"]);
        assert_eq!(join(&parts), "[1,\"a,]\",{\"k\": [2]},null]");
        assert_eq!(elements("{\"a\":1}").unwrap(), ["[\"a\",1]"]);
        assert_eq!(elements("[]").unwrap(), [""; 0]);
        assert_eq!(elements("7"), None);
        assert_eq!(elements("null"), None);
    }

    #[test]
    fn a_list_that_may_lack_what_was_taken_back_is_not_kept() {
        let (lists, list) = (Lists::default(), |text: &str| Arc::new(List::of(&text.into()).unwrap()));
        let before = lists.anew();
        lists.put(0, 0, list("[1,2]"), before);
        lists.forget_all();
        assert_ne!(lists.anew(), before);
        lists.put(0, 0, list("[1]"), before);
        assert!(lists.get(0, 0).is_none());
        lists.put(0, 0, list("[1,2]"), lists.anew());
        assert_eq!(lists.get(0, 0).unwrap().len(), 2);
    }
}
