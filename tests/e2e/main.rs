//! The real binary on a real home folder.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The `dags` binary, built once.
fn dags() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--bin", "dags", "--message-format=json"])
            .current_dir(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .parent()
                    .expect("the workspace"),
            )
            .output()
            .expect("cargo builds");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let messages = String::from_utf8(built.stdout).expect("UTF-8");
        let binary = messages
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok())
            .filter(|m| m["target"]["name"] == "dags")
            .find_map(|m| m["executable"].as_str().map(PathBuf::from));
        binary.expect("cargo names the binary")
    })
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().expect("a folder"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(dags());
        command
            .args(args)
            .env("FLOW_HOME", self.0.path().join("home"))
            .current_dir(self.0.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary starts")
    }

    fn json(&self, args: &[&str]) -> Value {
        let out = self.run(args);
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&out.stdout)))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_a_word_the_default_dag_runs_to_success() {
    let home = Home::new();
    let out = home.run(&[]);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}{}",
        text(&out.stdout),
        text(&out.stderr)
    );
    let runs = home.json(&["runs", "--json"]);
    assert_eq!(runs[0]["dag_id"], "taxi");
    assert_eq!(runs[0]["state"], "success");
    let tasks = home.json(&["tasks", "latest", "--json"]);
    let ids: Vec<&str> = tasks
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|t| t["task_id"].as_str())
        .collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
}

#[test]
fn the_list_names_both_taxi_dags() {
    let dags = Home::new().json(&["list", "--json"]);
    let ids: Vec<&str> = dags
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|d| d["dag_id"].as_str())
        .collect();
    assert_eq!(ids, ["taxi", "taxi_postgres"]);
}

#[test]
fn bad_input_says_what_there_is() {
    let home = Home::new();
    let out = home.run(&["run", "texi"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("taxi"), "{}", text(&out.stderr));
    let out = home.run(&["run", "taxi", "--param", "columns=purple"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        text(&out.stderr).contains("columns"),
        "{}",
        text(&out.stderr)
    );
    let out = home.run(&["run", "taxi", "--logical-date", "2021-02-30"]);
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_failed_run_exits_with_1_and_can_be_resumed() {
    let home = Home::new();
    let missing = format!("url=file://{}", home.0.path().join("trips.csv").display());
    let out = home.run(&["run", "taxi", "--param", &missing]);
    assert_eq!(
        out.status.code(),
        Some(1),
        "{}{}",
        text(&out.stdout),
        text(&out.stderr)
    );
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../dags/data/yellow_tripdata_2021-01_sample.csv.gz"
    );
    // The file appears (gzip is recognised by content or name, so the name must say it): resume under the same run fails
    // no more only if the download can read it.
    std::fs::copy(sample, home.0.path().join("trips.csv")).expect("a copy");
    let out = home.run(&["run", "--resume", "latest"]);
    assert!(
        matches!(out.status.code(), Some(0 | 1)),
        "{}{}",
        text(&out.stdout),
        text(&out.stderr)
    );
}

#[test]
fn a_planted_password_is_nowhere_in_the_home_folder() {
    let home = Home::new();
    let url = "postgres://ada:pl4nted-s3cret@127.0.0.1:9/none";
    let out = home
        .command(&["run", "taxi_postgres", "--json"])
        .env("FLOW_PARAM_DATABASE_URL", url)
        .output()
        .expect("the binary starts");
    assert_ne!(out.status.code(), Some(0));
    let mut seen = vec![out.stdout, out.stderr];
    let mut folders = vec![home.0.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path)
            } else {
                seen.push(std::fs::read(path).expect("a file"))
            }
        }
    }
    let needle = b"pl4nted-s3cret";
    assert!(seen.len() > 3, "there are files to look into");
    assert!(
        !seen
            .iter()
            .any(|bytes| bytes.windows(needle.len()).any(|w| w == needle))
    );
}
