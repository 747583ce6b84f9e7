//! The rules of the house that the compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Every file that git tracks (or would), with its text.
fn files(ending: &str) -> Vec<(String, String)> {
    let git = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    let names = String::from_utf8(git.stdout).expect("names are UTF-8");
    let read = |name: &str| fs::read_to_string(root().join(name)).ok().map(|text| (name.to_string(), text));
    let found: Vec<_> = names.lines().filter(|n| n.ends_with(ending)).filter_map(read).collect();
    assert!(!found.is_empty(), "no file ends in {ending}: is this a git checkout?");
    found
}

/// A forbidden text in any source file of a folder, besides the files that may.
fn forbid(folder: &str, text: &str, may: &[&str], why: &str) {
    let bad: Vec<String> = files(".rs")
        .into_iter()
        .filter(|(name, _)| name.starts_with(folder) && !may.iter().any(|m| name.contains(m)))
        .flat_map(|(name, body)| {
            let lines = body.lines().enumerate().map(|(i, l)| (i + 1, l.to_string())).collect::<Vec<_>>();
            let name = name.clone();
            lines
                .into_iter()
                .filter(|(_, line)| line.contains(text) && !line.trim_start().starts_with("//"))
                .map(move |(i, _)| format!("{name}:{i}"))
        })
        .collect();
    assert!(bad.is_empty(), "`{text}` {why}: {}", bad.join(", "));
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<String> = files(".rs")
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .map(|(name, lines)| format!("{name} ({lines})"))
        .collect();
    assert!(long.is_empty(), "one file, one idea; these are too long: {}", long.join(", "));
}

#[test]
fn the_core_is_pure() {
    for text in ["tokio", "sqlx", "Utc::now", "Instant::now", "SystemTime::now", "rand::", "std::fs", "std::net"] {
        forbid("flow-runtime/core/src", text, &[], "has no place in a crate that cannot do I/O");
    }
}

#[test]
fn the_data_crate_knows_no_flow() {
    for text in ["flow_core", "flow_runtime", "flow_macros"] {
        forbid("flow-runtime/data/src", text, &[], "is not known to flow-data");
    }
}

#[test]
fn sql_stays_in_the_store() {
    forbid("flow-runtime/src", "sqlx::", &["src/store/"], "belongs into store/");
}

#[test]
fn the_clock_is_read_in_one_place() {
    forbid("flow-runtime/src", "Utc::now", &["src/clock.rs"], "belongs into clock.rs");
}

#[test]
fn the_store_knows_no_shell_above_it() {
    for text in ["crate::executor", "crate::cli", "crate::testing"] {
        forbid("flow-runtime/src/store", text, &[], "is above the store");
    }
}

#[test]
fn the_first_dag_fits_on_a_screen() {
    let text = fs::read_to_string(root().join("dags/src/taxi.rs")).expect("taxi.rs");
    let lines = text.lines().count();
    assert!(lines <= 80, "dags/src/taxi.rs has {lines} lines");
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let table = text.split("[workspace.dependencies]").nth(1).expect("the table").split("\n[").next().unwrap_or("");
    let silent: Vec<&str> =
        table.lines().filter(|l| l.contains('=') && !l.starts_with("flow-") && !l.contains('#')).collect();
    assert!(silent.is_empty(), "say in a comment why: {silent:?}");
}

#[test]
fn the_readme_begins_with_a_program() {
    let text = fs::read_to_string(root().join("README.md")).expect("README.md");
    let program = text.find("```rust").expect("a program");
    assert!(text[..program].lines().count() <= 6, "the first screen is a program");
    assert!(text.contains("cargo run --bin dags\n") && text.contains("cargo test --workspace\n"));
}

#[test]
fn every_mutant_has_its_text() {
    let looked = Command::new("python3").args(["tests/mutants.py", "--texts"]).current_dir(root()).output();
    let looked = looked.expect("python3 runs");
    assert!(looked.status.success(), "mend tests/mutants.py:\n{}", String::from_utf8_lossy(&looked.stderr));
}
