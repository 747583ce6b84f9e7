//! Telling by a program.

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use std::io::{Seek as _, Write as _};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, Command};
use tokio::time::timeout;

/// Most bytes of its complaint that are kept: the last ones, for what went wrong comes at the end.
const KEPT: usize = 2048;

/// How long is listened for its last words once it has ended: something that it has left behind may hold its output open.
const REST: Duration = Duration::from_millis(200);

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

/// What a program complains of, as far as it is kept.
#[derive(Default)]
struct Complaint {
    said: Vec<u8>,
    is_cut: bool,
}

impl Complaint {
    /// Listens until the program closes its output; may be dropped at any moment.
    async fn hear(&mut self, stderr: &mut ChildStderr) {
        let mut part = vec![0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut part).await {
            self.said.extend_from_slice(&part[..read]);
            let beyond = self.said.len().saturating_sub(KEPT);
            self.is_cut |= beyond > 0;
            self.said.drain(..beyond);
        }
    }

    /// In one line; empty if nothing was said.
    fn text(&self) -> String {
        // Cut within a character, it begins with the rest of one.
        let begin = self.said.iter().take(3).take_while(|byte| self.is_cut && **byte & 0xC0 == 0x80).count();
        let said = String::from_utf8_lossy(&self.said[begin..]);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.is_cut { format!("..{said}") } else { said }
    }
}

/// Runs the program with the payload on its standard input, in a process group of its own. Dropping the future kills that.
pub(super) async fn run(argv: &[String], payload: &Map<String, Value>) -> Result<(), String> {
    let [program, args @ ..] = argv else { return Err("the command names no program".into()) };
    let because = |e: std::io::Error| format!("`{program}` cannot be run: {e}");
    // A file, not a pipe: a program that reads nothing holds nobody up.
    let mut input = tempfile::tempfile().map_err(because)?;
    let text = serde_json::to_string(payload).map_err(|e| e.to_string())?;
    input.write_all(text.as_bytes()).and_then(|()| input.rewind()).map_err(because)?;
    let mut command = Command::new(program);
    command.args(args).process_group(0).kill_on_drop(true);
    command.stdin(input).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(because)?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let (mut complaint, mut stderr) = (Complaint::default(), child.stderr.take());
    let status = tokio::select! {
        status = child.wait() => status,
        // A program that goes on after it has closed its output is waited for all the same.
        () = listen(&mut complaint, &mut stderr) => child.wait().await,
    };
    // It is gone, and its number may be another's from now on.
    group.0 = None;
    let status = status.map_err(because)?;
    if status.success() {
        return Ok(());
    }
    // What is not heard in that time, nobody waits for.
    let _ = timeout(REST, listen(&mut complaint, &mut stderr)).await;
    Err(match complaint.text() {
        said if said.is_empty() => format!("`{program}` ended with {status}"),
        said => format!("`{program}` ended with {status}: {said}"),
    })
}

async fn listen(complaint: &mut Complaint, stderr: &mut Option<ChildStderr>) {
    if let Some(stderr) = stderr {
        complaint.hear(stderr).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn complaint_of(script: &str) -> String {
        let argv = ["sh", "-c", script].map(String::from);
        run(&argv, &Map::new()).await.unwrap_err()
    }

    #[tokio::test]
    async fn of_a_long_complaint_the_end_is_kept() {
        let said = complaint_of("yes ü | head -c 9000000 >&2; printf 'no such room' >&2; exit 3").await;
        assert!(said.starts_with("`sh` ended with exit status: 3: ..ü ü"), "{}", &said[..60]);
        assert!(said.ends_with("ü no such room") && said.len() < KEPT + 60, "{} bytes", said.len());
    }

    #[tokio::test]
    async fn what_holds_the_output_open_or_closes_it_early_is_no_matter() {
        let begun = std::time::Instant::now();
        assert_eq!(complaint_of("sleep 30 & echo no >&2; exit 1").await, "`sh` ended with exit status: 1: no");
        assert!(begun.elapsed() < Duration::from_secs(10), "what it has left behind is not waited for");
        assert_eq!(complaint_of("exec 2>&-; sleep 0.1; exit 4").await, "`sh` ended with exit status: 4");
    }
}
