//! Where the log of a try lies, and reading it back.

use std::io;
use std::path::{Path, PathBuf};

/// Longest name of one folder or file; file systems allow 255 bytes.
const LONGEST: usize = 200;

/// The log file of one try under a home folder, by Airflow's template:
/// `logs/dag_id=d/run_id=r/task_id=t/attempt=1.log`, with `map_index=0/` before the last for a mapped instance.
///
/// What could leave its folder, or what file systems do not take, is written as `%2F`.
pub fn log_path(home: &Path, dag_id: &str, run_id: &str, task_id: &str, map_index: i32, try_number: u32) -> PathBuf {
    let mut path = run_folder(home, dag_id, run_id);
    path.push(part("task_id", task_id));
    if map_index >= 0 {
        path.push(format!("map_index={map_index}"));
    }
    path.push(format!("attempt={try_number}.log"));
    path
}

/// The folder of all logs of a run.
pub fn run_folder(home: &Path, dag_id: &str, run_id: &str) -> PathBuf {
    home.join("logs").join(part("dag_id", dag_id)).join(part("run_id", run_id))
}

/// The lines of a try's log, oldest first, each a JSON object; none if the try logged nothing.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read_log(
    home: &Path,
    dag_id: &str,
    run_id: &str,
    task_id: &str,
    map_index: i32,
    try_number: u32,
) -> io::Result<Vec<String>> {
    let path = log_path(home, dag_id, run_id, task_id, map_index, try_number);
    match std::fs::read(&path) {
        // A process that was killed may have left half a character behind.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_string).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(io::Error::new(e.kind(), format!("cannot read the log {}: {e}", path.display()))),
    }
}

/// `name=id` as one safe file name; different ids give different names.
fn part(name: &str, id: &str) -> String {
    use std::fmt::Write;
    let mut out = format!("{name}=");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.:+@~".contains(&byte) || !byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    if id.is_ascii() && out.len() <= LONGEST {
        return out;
    }
    let hash = super::short_hash(id);
    let kept: String = out.chars().filter(char::is_ascii).take(LONGEST - hash.len() - 1).collect();
    format!("{kept}~{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_template() {
        let path = log_path(Path::new("h"), "d", "manual__2026-01-31T09:30:20.123456+00:00", "g.t", 3, 2);
        let expected =
            "h/logs/dag_id=d/run_id=manual__2026-01-31T09:30:20.123456+00:00/task_id=g.t/map_index=3/attempt=2.log";
        assert_eq!(path, Path::new(expected));
        assert_eq!(
            log_path(Path::new("h"), "d", "r", "t", -1, 1),
            Path::new("h/logs/dag_id=d/run_id=r/task_id=t/attempt=1.log")
        );
    }

    #[test]
    fn no_id_leaves_its_folder_and_no_two_share_one() {
        let ids = [
            "../../etc",
            "..",
            "a/b",
            "a%2Fb",
            "a\\b",
            "a\0b",
            "a b",
            "ü",
            "ä",
            "",
            &"x".repeat(300),
            &"x".repeat(301),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for id in ids {
            let path = log_path(Path::new("h"), "d", id, "t", -1, 1);
            assert_eq!(path.components().count(), 6, "{id}");
            assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(n) if n.len() <= 255)), "{id}");
            assert!(seen.insert(path), "{id}");
        }
    }
}
