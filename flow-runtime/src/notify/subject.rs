//! The subject of a mail, with places for what is told.

/// What a place may be called.
const PLACES: [&str; 10] =
    ["dag_id", "dag_run_id", "who", "what", "task_id", "event", "state", "logical_date", "try_number", "tries"];

/// The subject of a mail: a text with places like `{dag_id}`, for what is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(pub(super) Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// As it is written.
    Text(String),
    /// A field of what is told.
    Place(&'static str),
}

/// `taxi: load failed`.
impl Default for Subject {
    fn default() -> Subject {
        let text = |text: &str| Part::Text(text.into());
        Subject(vec![Part::Place("dag_id"), text(": "), Part::Place("who"), text(" "), Part::Place("what")])
    }
}

impl Subject {
    /// The subject that is written so.
    ///
    /// # Errors
    /// A sentence: a place that is none, a brace without its other one, nothing at all.
    pub fn parse(written: &str) -> Result<Subject, String> {
        let (mut parts, mut rest) = (Vec::new(), written);
        while let Some(open) = rest.find(['{', '}']) {
            let (before, after) = (&rest[..open], &rest[open + 1..]);
            let close =
                after.find(['{', '}']).filter(|at| after[*at..].starts_with('}') && rest[open..].starts_with('{'));
            let Some(close) = close else { return Err("a brace stands alone: a place is written `{dag_id}`".into()) };
            let name = &after[..close];
            let place = PLACES.into_iter().find(|place| *place == name);
            let place = place.ok_or_else(|| format!("there is no `{{{name}}}`; there are: {}", PLACES.join(", ")))?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.into())));
            parts.push(Part::Place(place));
            rest = &after[close + 1..];
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.into())));
        if written.trim().is_empty() { Err("it is empty".into()) } else { Ok(Subject(parts)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (written, said) in [
            ("{dag}", "there is no `{dag}`; there are: dag_id, dag_run_id"),
            ("{dag_id", "a brace stands alone"),
            ("dag_id}", "a brace stands alone"),
            ("{{dag_id}}", "a brace stands alone"),
            ("}{", "a brace stands alone"),
            ("  ", "it is empty"),
        ] {
            let error = Subject::parse(written).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
