//! The Rust programs of README.md and docs/ become modules of the suite `book`: each compiles, and its tests run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = Path::new("../..");
    println!("cargo::rerun-if-changed=../../README.md");
    println!("cargo::rerun-if-changed=../../docs");
    let mut pages: Vec<PathBuf> = fs::read_dir(root.join("docs"))
        .expect("docs/")
        .map(|entry| entry.expect("an entry of docs/").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    pages.push(root.join("README.md"));
    pages.sort();
    let mut modules = String::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        let name = page.file_stem().expect("a name").to_string_lossy().to_lowercase().replace('-', "_");
        for (number, program) in programs(&text).into_iter().enumerate() {
            let written =
                write!(modules, "// A program of {}.\nmod {name}_{} {{\n{program}}}\n", page.display(), number + 1);
            written.expect("a String takes all");
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("book.rs"), modules).expect("OUT_DIR can be written");
}

/// The blocks that begin with a line of exactly "```rust"; where the feature is on, those of "```rust,lazy" too.
fn programs(text: &str) -> Vec<String> {
    let lazy = env::var_os("CARGO_FEATURE_LAZY").is_some();
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    for line in text.lines() {
        match &mut inside {
            None if line == "```rust" || lazy && line == "```rust,lazy" => inside = Some(String::new()),
            None => {}
            Some(_) if line == "```" => found.extend(inside.take()),
            Some(program) => {
                program.push_str(line);
                program.push('\n');
            }
        }
    }
    found
}
