//! Conformance: questions with the answers that Airflow 3.3.2 gave when it was run. The whole set lies outside the
//! repository (see `FLOW_VECTORS`); a small part of it is kept in `sample/`, so that something runs everywhere.

mod backoff;
mod clear;
mod cron;
mod graph;
mod params;
mod priority;
mod run_state;
mod trigger_rules;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the test makes of one line.
enum Verdict {
    /// The same answer.
    Agrees,
    /// Another answer, for this reason.
    OnPurpose(&'static str),
    /// A question that cannot be put to this planner, for this reason.
    Skipped(&'static str),
    /// Another answer, and nobody knows why.
    Differs(String),
}

impl Verdict {
    fn of(agrees: bool, otherwise: impl FnOnce() -> String) -> Verdict {
        if agrees { Verdict::Agrees } else { Verdict::Differs(otherwise()) }
    }
}

/// Puts every line of a file to `ask`: of the sample, and of the whole set where it is there.
fn check(file: &str, ask: impl Fn(&Value) -> Verdict) {
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/core/vectors/sample");
    check_lines(&format!("sample/{file}"), &std::fs::read_to_string(sample.join(file)).expect(file), &ask);
    // A relative folder is meant from the root of the repository, where the command is typed.
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("FLOW_VECTORS").filter(|name| !name.is_empty()).map(|name| root.join(name));
    if let Some(folder) = &named {
        assert!(folder.is_dir(), "FLOW_VECTORS names {}, and that is no folder", folder.display());
    }
    let folder = named.unwrap_or_else(|| root.join("../shared/vectors"));
    match std::fs::read_to_string(folder.join(file)) {
        Ok(text) => check_lines(file, &text, &ask),
        Err(error) => say(&format!(
            "SKIPPED: {file} of the vectors: {error}. Set FLOW_VECTORS to the folder that holds them; only the sample ran."
        )),
    }
}

fn check_lines(name: &str, text: &str, ask: &impl Fn(&Value) -> Verdict) {
    let (mut agreed, mut apart) = (0, BTreeMap::<String, u32>::new());
    let mut differing = Vec::new();
    for line in text.lines() {
        let question: Value = serde_json::from_str(line).expect(line);
        let verdict = if question.get("error").is_some() { Verdict::Skipped("Airflow raised") } else { ask(&question) };
        match verdict {
            Verdict::Agrees => agreed += 1,
            Verdict::OnPurpose(why) => *apart.entry(format!("differed on purpose: {why}")).or_default() += 1,
            Verdict::Skipped(why) => *apart.entry(format!("skipped: {why}")).or_default() += 1,
            Verdict::Differs(how) => differing.push(format!("{line}\n    {how}")),
        }
    }
    let apart: String = apart.iter().map(|(why, n)| format!(", {n} {why}")).collect();
    say(&format!("{name}: {agreed} agreed, {} differed{apart}", differing.len()));
    assert!(agreed > 0, "{name} asked nothing");
    let shown = differing.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{name}: {} of {} differ:\n{shown}", differing.len(), text.lines().count());
}

/// Past the capture of the test harness, so that it is seen when nothing fails.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|n| n.try_into().ok()).expect("a small number")
}
