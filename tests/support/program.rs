//! A binary in a folder of its own, and what it answered. The suite says which, by `PROGRAM`.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A folder to work in; the home folder is `.flow` inside it.
pub struct Place {
    pub folder: TempDir,
    env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a temporary folder"), env: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Place {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join(".flow")
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("the file can be written");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(crate::PROGRAM);
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        // What cargo, or the person who tests, has set is not for this program.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLOW_") || name.starts_with("CARGO")) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG").envs(self.env.iter().map(|(n, v)| (n, v)));
        command
    }

    pub fn dags(&self, args: &[&str]) -> Answer {
        let output = self.command(args).output().expect("the program can be started");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text is UTF-8");
        Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The answer of a command that must succeed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let answer = self.dags(args);
        assert_eq!(answer.code, Some(0), "{args:?}: {answer:#?}");
        answer.out
    }

    /// The JSON of a command that must succeed.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
    }

    /// A run under way, told of by JSON lines.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(&[args, &["--json"]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Running { child, lines, seen: Vec::new() }
    }
}

/// A run under way.
pub struct Running {
    pub child: Child,
    lines: BufReader<ChildStdout>,
    pub seen: Vec<Value>,
}

impl Running {
    /// The next event; `None` when the program has ended.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).ok()?;
        let event: Value = serde_json::from_str(&line).ok()?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Waits until this task has this state.
    #[track_caller]
    pub fn until(&mut self, task_id: &str, state: &str) {
        while let Some(event) = self.next() {
            if event["task_id"] == task_id && event["state"] == state {
                return;
            }
        }
        panic!("`{task_id}` never was {state}: {:#?}", self.seen);
    }

    /// Ends it as the kernel ends a process: without a word.
    pub fn kill(mut self) -> Vec<Value> {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
        self.seen
    }

    /// Reads no more, and waits for the end.
    pub fn hang_up(self) -> Option<i32> {
        let Running { mut child, lines, .. } = self;
        drop(lines);
        child.wait().expect("it ends").code()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Everything up to its end, and its exit code.
    pub fn end(mut self) -> (Vec<Value>, Option<i32>) {
        while self.next().is_some() {}
        let code = self.child.wait().expect("it ends").code();
        (self.seen, code)
    }
}

/// The tasks that began among these events, in order.
pub fn begun(events: &[Value]) -> Vec<String> {
    let began = events.iter().filter(|e| e["event"] == "task_state" && e["state"] == "running");
    began.map(|e| e["task_id"].as_str().expect("a task").to_string()).collect()
}
