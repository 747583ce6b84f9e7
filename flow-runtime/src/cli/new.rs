//! `new`: a first DAG file with a unit test, or a whole project.

use super::args::New;
use super::exit::{CliError, Exit, Result};
use super::format::short;
use super::output::Output;
use crate::registry;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The files of a project; `{name}`, `{crate}` and `{runtime}` are filled in.
const PROJECT: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.txt")),
    ("build.rs", include_str!("new/build.rs.txt")),
    ("flow.toml", include_str!("new/flow.toml.txt")),
    (".gitignore", "/target\n.flow/\n"),
    ("src/lib.rs", include_str!("new/lib.rs.txt")),
    ("src/main.rs", include_str!("new/main.rs.txt")),
];
/// A DAG file; `{name}` is filled in.
const DAG_FILE: &str = include_str!("new/dag.rs.txt");
/// The first DAG of a project.
const FIRST: &str = "hello";

/// Writes a DAG file or a project. What is there already stays as it is.
pub fn new(args: &New, program: &str, out: &Output) -> Result {
    let here =
        std::env::current_dir().map_err(|e| CliError::outside(format!("the current folder cannot be read: {e}")))?;
    match (&args.project, &args.name) {
        (Some(folder), _) => project(&here, folder, args.flow.as_deref(), out),
        (None, Some(name)) => dag(&here, name, program, out),
        (None, None) => Err(CliError::input("name the DAG, or give --project FOLDER")),
    }
}

fn dag(here: &Path, name: &str, program: &str, out: &Output) -> Result {
    check_name(name, "DAG")?;
    if let Some(place) = registry::dag_places().find(|(id, _)| *id == name).map(|(_, place)| place) {
        return Err(CliError::input(format!("there is a DAG `{name}` already, at {place}")));
    }
    let Some(folder) = dag_folder(here, registry::dag_places().map(|(_, place)| place.file)) else {
        return Err(CliError::input(
            "there is no DAG folder here: a `src` or `dags/src` whose lib.rs picks up its files",
        )
        .hint("go to the folder of your project, or write a new one by `new --project FOLDER`"));
    };
    let path = folder.join(format!("{name}.rs"));
    write_new(&path, &DAG_FILE.replace("{name}", name).replace("{default}", ""))?;
    let shown = path.strip_prefix(here).unwrap_or(&path).display();
    if out.json {
        out.json_pretty(&serde_json::json!({"dag_id": name, "files": [path]}));
    } else {
        out.line(format!("wrote {shown}: a DAG of three tasks, with tests"));
        // A program that was started by its path is not built by being run.
        let build = if program.starts_with("cargo ") { "" } else { "cargo build && " };
        let package = package(&folder).map_or(String::new(), |package| format!("-p {package} "));
        out.note(format!(
            "\nIt is picked up by itself at the next build:\n  run it:   {build}{program} run {name}\n  test it:  cargo test {package}--lib {name}"
        ));
    }
    Ok(Exit::Success)
}

/// The package that a folder of sources belongs to.
fn package(folder: &Path) -> Option<String> {
    let manifest = std::fs::read_to_string(folder.parent()?.join("Cargo.toml")).ok()?;
    let manifest: toml::Table = manifest.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.to_string())
}

/// Where this project's DAG files are: where its DAGs are, or else where a folder looks like it.
fn dag_folder(here: &Path, known: impl Iterator<Item = String>) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = known.filter_map(|file| Path::new(&file).parent().map(Path::to_path_buf)).collect();
    let candidates = folders.iter().map(PathBuf::as_path).chain([Path::new("dags/src"), Path::new("src")]);
    let candidates: Vec<&Path> = candidates.collect();
    let picks_up =
        |folder: &Path| std::fs::read_to_string(folder.join("lib.rs")).is_ok_and(|text| text.contains("automod::dir!"));
    here.ancestors().find_map(|above| candidates.iter().map(|c| above.join(c)).find(|folder| picks_up(folder)))
}

fn project(here: &Path, folder: &Path, flow: Option<&Path>, out: &Output) -> Result {
    let path = here.join(folder);
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let krate = name.replace('-', "_");
    check_name(&krate, "project")?;
    match std::fs::read_dir(&path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(CliError::input(format!("`{}` is not empty: choose a new folder", folder.display()))),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(CliError::outside(format!("`{}` cannot be used: {e}", folder.display()))),
    }
    let runtime = runtime(here, flow)?;
    let fill = |text: &str| text.replace("{name}", &name).replace("{crate}", &krate).replace("{runtime}", &runtime);
    let mut files = Vec::new();
    for (file, text) in PROJECT {
        write_new(&path.join(file), &fill(text))?;
        files.push(path.join(file));
    }
    let first = path.join(format!("src/{FIRST}.rs"));
    write_new(&first, &DAG_FILE.replace("{name}", FIRST).replace("{default}", "default, "))?;
    files.push(first);
    if out.json {
        out.json_pretty(&serde_json::json!({"project": name, "files": files}));
        return Ok(Exit::Success);
    }
    out.line(format!("wrote the project `{name}` into {}", folder.display()));
    out.note(format!("\n  cd {}\n  cargo run            # its DAG `{FIRST}`, once\n  cargo test           # its tasks and the whole DAG, in memory\n  cargo run -- --help  # everything else", folder.display()));
    Ok(Exit::Success)
}

/// How a project depends on flow: by the path that is given; by that of its source, where this program was built in a
/// checkout of it; else by version.
fn runtime(here: &Path, given: Option<&Path>) -> Result<String> {
    let by_path = |folder: &Path| format!("{{ path = {:?} }}", folder.display().to_string());
    if let Some(given) = given {
        let folder = here.join(given);
        let found = [folder.join("flow-runtime"), folder.clone()].into_iter().find(|f| f.join("Cargo.toml").is_file());
        let missing = || CliError::input(format!("--flow: there is no crate in `{}`", folder.display()));
        return found.map(|folder| by_path(&folder)).ok_or_else(missing);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    // In cargo's own copy of a published crate the workspace around it is not there.
    let checkout = source.join("Cargo.toml").is_file() && source.join("../flow-macros/Cargo.toml").is_file();
    Ok(if checkout { by_path(source) } else { format!("{:?}", env!("CARGO_PKG_VERSION")) })
}

/// A name that can be a module and a DAG.
fn check_name(name: &str, what: &str) -> Result<()> {
    const TAKEN: [&str; 44] = [
        "as", "async", "await", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum", "extern",
        "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "lib", "loop", "macro", "main", "match",
        "mod", "move", "mut", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "tests", "trait",
        "true", "try", "type", "use",
    ];
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if letters && name.starts_with(|c: char| c.is_ascii_lowercase()) && !TAKEN.contains(&name) && !name.ends_with('_') {
        return Ok(());
    }
    Err(CliError::input(format!("`{}` cannot name a {what}", short(name, 60))).hint(
        "it becomes a Rust module: lower-case letters, digits and `_`, a letter first, and no word of Rust's own",
    ))
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => CliError::input(format!("{} is there already, and stays as it is", path.display())),
        _ => CliError::outside(format!("{} cannot be written: {e}", path.display())),
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Captured;

    #[test]
    fn a_dag_goes_where_the_others_are_and_never_over_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("dags/src");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::fs::write(folder.join("lib.rs"), "flow_runtime::automod::dir!(pub \"src\");").unwrap();
        let found = dag_folder(&root.path().join("a/b"), ["dags/src/taxi.rs".to_string()].into_iter());
        assert_eq!(found, Some(folder.clone()));
        assert_eq!(dag_folder(&folder, std::iter::empty()), Some(folder.clone()));
        let output = Output::captured(false, &Captured::default(), &Captured::default());
        assert_eq!(dag(root.path(), "sales", "dags", &output), Ok(Exit::Success));
        let text = std::fs::read_to_string(folder.join("sales.rs")).unwrap();
        assert!(text.contains("pub fn sales(") && !text.contains("{name}") && !text.contains("{default}"), "{text}");
        assert!(dag(root.path(), "sales", "dags", &output).unwrap_err().message.contains("is there already"));
    }

    #[test]
    fn names_are_those_of_modules() {
        for name in ["sales", "sales_2026", "a"] {
            assert_eq!(check_name(name, "DAG"), Ok(()), "{name}");
        }
        for name in ["", "Sales", "2026", "my-dag", "../x", "fn", "main", "lib", "ä", "a b", "_a"] {
            assert!(check_name(name, "DAG").is_err(), "{name}");
        }
    }

    #[test]
    fn a_project_is_written_whole_into_an_empty_folder_only() {
        let root = tempfile::tempdir().unwrap();
        let output = Output::captured(false, &Captured::default(), &Captured::default());
        assert_eq!(project(root.path(), Path::new("my-pipelines"), None, &output), Ok(Exit::Success));
        let manifest = std::fs::read_to_string(root.path().join("my-pipelines/Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"my-pipelines\"") && manifest.contains("flow-runtime = {"), "{manifest}");
        let main = std::fs::read_to_string(root.path().join("my-pipelines/src/main.rs")).unwrap();
        assert!(main.contains("use my_pipelines as _;"), "{main}");
        let again = project(root.path(), Path::new("my-pipelines"), None, &output).unwrap_err();
        assert!(again.message.contains("is not empty"), "{again:?}");
    }
}
