//! A disk that is full: whoever writes there says so, breaks nothing, and goes on by itself once there is room.

use crate::program::Place;
use crate::rest_but;
use crate::ticks::{runs, soon, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{File, read_to_string};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process none of whose files may become larger than so many blocks of 512 bytes. (The signal that would end it is not
/// heeded, so that a write fails as it does on a full disk.)
struct Cramped(Child);

impl Cramped {
    fn start(place: &Place, args: &[&str], blocks: u64, said: &File) -> Cramped {
        let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
        let program = place.command(args);
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
        command.current_dir(place.folder.path()).env_remove("RUST_LOG").stdin(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let said = said.try_clone().expect("a file");
        Cramped(command.stdout(said.try_clone().expect("a file")).stderr(said).spawn().expect("it starts"))
    }

    /// Lets it write as much as it likes.
    fn make_room(&self) {
        let pid = self.0.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"]).status();
        assert!(done.expect("prlimit is there").success());
    }

    fn stop(self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().expect("kill is there").success());
        self.end()
    }

    fn end(mut self) -> Option<i32> {
        self.0.wait().expect("it ends").code()
    }
}

impl Drop for Cramped {
    /// A test that fails leaves none behind.
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

/// Number 26.
#[test]
fn a_disk_that_is_full_breaks_nothing_and_all_goes_on_when_there_is_room() {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    rest_but(&place, &["twenty_seconds"]);
    let size = |name: &str| place.home().join(name).metadata().map_or(0, |file| file.len());
    let largest = size("flow.db").max(size("flow.db-wal"));
    let path = place.folder.path().join("said");
    let said = File::create(&path).unwrap();
    // Enough to begin with, and not for all.
    let scheduler = Cramped::start(&place, &["scheduler"], (largest + 96 * 1024) / 512, &said);
    soon("it says that there is no room", || {
        let said = read_to_string(&path).unwrap();
        said.contains("metadata database") && (said.contains("disk is full") || said.contains("no room on the disk"))
    });
    // Whoever only reads still can.
    let before = runs(&place, "twenty_seconds");
    assert!(!before.is_empty() && before.len() < 21, "{before:#?}");
    scheduler.make_room();
    let all = || runs(&place, "twenty_seconds");
    soon("all ticks are run", || all().len() == 21 && all().iter().all(|run| run["state"] == "success"));
    assert_eq!(scheduler.stop(), Some(0), "{}", read_to_string(&path).unwrap());

    let dates: BTreeSet<String> = all().iter().map(|run| text(run, "logical_date").to_string()).collect();
    assert_eq!(dates.len(), 21, "each of them once");
    for run in all() {
        let tasks = place.json(&["tasks", text(&run, "dag_run_id"), "--dag", "twenty_seconds"]);
        for task in tasks.as_array().unwrap() {
            let won = |one: &&Value| one["state"] == "success";
            assert_eq!(task["tries"].as_array().unwrap().iter().filter(won).count(), 1, "{task:#}");
        }
    }
    assert_eq!(place.json(&["db", "check"])["is_current"], true);
}

/// The lines of a log, none of which may be broken.
fn lines(path: &Path) -> Vec<Value> {
    let text = read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a part of a line is left: {text}");
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(read).collect()
}

/// Number 26, of the folder of the logs: a task whose log cannot be written goes on.
#[test]
fn a_task_goes_on_where_there_is_no_room_for_its_log_and_the_log_says_what_is_missing() {
    let place = Place::new().env("FLOW_LOG", "misbehave=debug");
    let path = place.folder.path().join("said");
    let said = File::create(&path).unwrap();
    let run = Cramped::start(&place, &["run", "wordy", "--run-id", "one"], 4096, &said);
    soon("it says that there is no room", || read_to_string(&path).unwrap().contains("cannot be written"));
    let log = place.home().join("logs/dag_id=wordy/run_id=one/task_id=talks/attempt=1.log");
    let before = lines(&log);
    run.make_room();
    place.write(".flow/room", "");
    assert_eq!(run.end(), Some(0), "{}", read_to_string(&path).unwrap());

    let said = read_to_string(&path).unwrap();
    let told: Vec<&str> = said.lines().filter(|line| line.contains("cannot be written")).collect();
    assert!(told.len() == 1 && told[0].contains("WARN") && told[0].contains("make room in"), "once: {told:#?}");
    let all = lines(&log);
    assert_eq!(all[..before.len()], before, "what was written stays");
    let gaps: Vec<&Value> = all.iter().filter(|line| line["logger"] == "flow.log").collect();
    assert_eq!(gaps.len(), 1, "{gaps:#?}");
    let missing: usize = text(gaps[0], "event").split(' ').next().unwrap().parse().unwrap();
    assert_eq!(text(gaps[0], "event"), format!("{missing} lines are missing here: the log could not be written"));
    let spoken = place.json(&["xcom", "one", "talks"])["value"].as_u64().unwrap() as usize;
    assert_eq!(all.len() - 1 + missing, spoken, "each line is there, or counted");
    assert_eq!(text(&all[all.len() - 1], "event"), "there is room again");
    let tasks = place.json(&["tasks", "one"]);
    assert_eq!((&tasks[0]["state"], &tasks[0]["try_number"]), (&"success".into(), &1.into()), "{tasks:#}");
}

#[test]
fn a_scheduler_says_which_log_cannot_be_written() {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    rest_but(&place, &["in_two_lines"]);
    place.write(".flow/logs", "in the way");
    let path = place.folder.path().join("said");
    let room = 1 << 30;
    let scheduler = Cramped::start(&place, &["scheduler"], room, &File::create(&path).unwrap());
    let done = || runs(&place, "in_two_lines").iter().any(|run| run["state"] == "success");
    soon("it runs all the same", done);
    soon("it says so", || read_to_string(&path).unwrap().contains("the log of this try cannot be written"));
    let tasks = place.json(&["tasks", "latest", "--dag", "in_two_lines"]);
    assert_eq!((&tasks[0]["state"], &tasks[0]["try_number"]), (&"success".into(), &1.into()), "{tasks:#}");
    assert_eq!(scheduler.stop(), Some(0));
}
