//! A disk that is full: the scheduler says so, breaks nothing, and goes on by itself once there is room.

use crate::program::Place;
use crate::rest_but;
use crate::ticks::{runs, soon, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{File, read_to_string};
use std::process::{Child, Command, Stdio};

/// A scheduler none of whose files may become larger than so many blocks of 512 bytes. (The signal that would end it is not
/// heeded, so that a write fails as it does on a full disk.)
struct Cramped(Child);

impl Cramped {
    fn start(place: &Place, blocks: u64, said: &File) -> Cramped {
        let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
        let program = place.command(&["scheduler"]);
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

    fn end(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().expect("kill is there").success());
        self.0.wait().expect("it ends").code()
    }
}

impl Drop for Cramped {
    /// A test that fails leaves none behind.
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

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
    let scheduler = Cramped::start(&place, (largest + 96 * 1024) / 512, &said);
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
    assert_eq!(scheduler.end(), Some(0), "{}", read_to_string(&path).unwrap());

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
