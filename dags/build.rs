//! A new file in `src/` is a new DAG file: without this cargo would not look there again.

fn main() {
    println!("cargo::rerun-if-changed=src");
}
