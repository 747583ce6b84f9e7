//! Telling by a program.

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use std::io::{Read as _, Seek as _, Write as _};
use std::process::Stdio;
use tokio::process::Command;

/// Most bytes of its complaint that are kept.
const SHOWN: u64 = 400;

/// Kills a program that has not ended, with all that it has started in its group.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // ESRCH: nobody is left.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs the program with the payload on its standard input, in a process group of its own. Dropping the future kills that.
pub(super) async fn run(argv: &[String], payload: &Map<String, Value>) -> Result<(), String> {
    let [program, args @ ..] = argv else { return Err("the command names no program".into()) };
    let because = |e: std::io::Error| format!("`{program}` cannot be run: {e}");
    // Files, not pipes: a program that reads nothing, or one that leaves a child with its output open, holds nobody up.
    let mut input = tempfile::tempfile().map_err(because)?;
    let text = serde_json::to_string(payload).map_err(|e| e.to_string())?;
    input.write_all(text.as_bytes()).and_then(|()| input.rewind()).map_err(because)?;
    let mut complaint = tempfile::tempfile().map_err(because)?;
    let mut command = Command::new(program);
    command.args(args).process_group(0).kill_on_drop(true);
    command.stdin(input).stdout(Stdio::null()).stderr(complaint.try_clone().map_err(because)?);
    let mut child = command.spawn().map_err(because)?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let status = child.wait().await.map_err(because);
    // It is gone, and its number may be another's from now on.
    group.0 = None;
    let status = status?;
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    let read = complaint.rewind().and_then(|()| complaint.take(SHOWN).read_to_end(&mut said));
    let said = read.map(|_| String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" "));
    Err(match said {
        Ok(said) if !said.is_empty() => format!("`{program}` ended with {status}: {said}"),
        _ => format!("`{program}` ended with {status}"),
    })
}
