//! "Did you mean ..?": the names that are there, and the one that is nearest to what was written.

/// The name most like `given`, if one is like it at all.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(given);
    names
        .into_iter()
        .map(|name| (likeness(&wanted, &plain(name)), name))
        .filter(|(likeness, _)| *likeness >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Upper and lower case, and `-` for `_`, are no difference.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

fn likeness(wanted: &str, name: &str) -> f64 {
    if wanted == name {
        return 1.0;
    }
    // A beginning of three letters or more is as good as a small slip: `down` for `download`.
    if wanted.len() >= 3 && name.starts_with(wanted) {
        return 0.9;
    }
    let likeness = strsim::normalized_damerau_levenshtein(wanted, name).max(strsim::jaro_winkler(wanted, name) - 0.15);
    // One slip in three letters is a third of them, and still one slip.
    let one_slip = wanted.len() >= 3 && strsim::damerau_levenshtein(wanted, name) == 1;
    if one_slip { likeness.max(0.8) } else { likeness }
}

/// ``did you mean `taxi`?`` if something is near, and what there is: ``there are: `hello`, `taxi` ``.
pub fn hints<'a>(given: &str, what: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<&str> = names.into_iter().collect();
    let mut hints = Vec::new();
    if let Some(name) = nearest(given, names.iter().copied()) {
        hints.push(format!("did you mean `{name}`?"));
    }
    hints.push(if names.is_empty() {
        format!("there is no {what} at all")
    } else {
        format!("{what}s: {}", listed(&names))
    });
    hints
}

/// The first of them, and how many more there are.
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    const MOST: usize = 20;
    let mut text = names.iter().take(MOST).map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_a_stranger_is_not() {
        let names = ["taxi", "taxi_postgres", "hello"];
        for (given, found) in [
            ("taix", Some("taxi")),
            ("TAXI", Some("taxi")),
            ("taxi-postgres", Some("taxi_postgres")),
            ("helo", Some("hello")),
            ("hel", Some("hello")),
            ("weather", None),
            ("x", None),
        ] {
            assert_eq!(nearest(given, names), found, "{given}");
        }
        // What long names have in common makes none of them likelier than the one that is a slip away.
        assert_eq!(nearest("FLOW_PARAM_TABEL", ["FLOW_PARAM_TABLE", "FLOW_PARAM_LAKE"]), Some("FLOW_PARAM_TABLE"));
    }

    #[test]
    fn hints_name_what_there_is() {
        assert_eq!(hints("helo", "DAG", ["hello", "taxi"]), ["did you mean `hello`?", "DAGs: hello, taxi"]);
        assert_eq!(hints("x", "run", []), ["there is no run at all"]);
        let many: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        assert!(listed(&many).ends_with("19 and 5 more"));
    }
}
