//! The process of a command: started, listened to, and ended with all that it has started.

use super::Bash;
use crate::context::Context;
use crate::error::TaskError;
use crate::executor::offspring::{Leader, Mark, signal_name};
use crate::lines::Lines;
use crate::secret::Secret;
use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::{Instant, sleep_until, timeout};

/// The exit code by which a command says that there is nothing to do.
const SKIP: i32 = 99;
/// How long a command that was told to end may go on.
const GRACE: Duration = Duration::from_secs(5);
/// Time for what was printed last to arrive, once everybody who could print is dead.
const REST: Duration = Duration::from_secs(1);
/// The last lines of stderr that an error tells.
const TOLD: usize = 5;
/// No longer than this is what it tells of each.
const TOLD_CHARS: usize = 400;

/// Runs a command to its end. When the future is dropped, it is killed.
pub(super) async fn run(bash: &Bash, ctx: &Context, secrets: &[(&str, &Secret<String>)]) -> anyhow::Result<String> {
    let said = Said::default();
    let (mut running, out, err) = Running::start(bash, ctx, secrets)?;
    let reading = async { tokio::join!(lines(out, |line| said.out(line)), lines(err, |line| said.err(line))) };
    let mut reading = pin!(reading);
    let mut exited = pin!(exited(running.leader.pid()));
    let mut all_read = false;
    let mut deadline: Option<Instant> = None;
    loop {
        let over = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut exited => break,
            _ = &mut reading, if !all_read => all_read = true,
            () = ctx.cancel().cancelled(), if deadline.is_none() => {
                // ESRCH: it has just ended.
                let _gone = kill_process_group(running.leader.pid(), Signal::TERM);
                deadline = Some(Instant::now() + GRACE);
            }
            () = over => break,
        }
    }
    let status = running.end().await?;
    if !all_read {
        drop(timeout(REST, reading).await);
    }
    if deadline.is_some() {
        bail!("the command was told to end");
    }
    said.outcome(status)
}

/// A command under way.
struct Running {
    leader: Leader,
    child: Child,
}

impl Running {
    fn start(
        bash: &Bash,
        ctx: &Context,
        secrets: &[(&str, &Secret<String>)],
    ) -> anyhow::Result<(Running, ChildStdout, ChildStderr)> {
        if let Some(folder) = bash.cwd.as_deref().filter(|folder| !Path::new(folder).is_dir()) {
            bail!("the command cannot run in `{folder}`: there is no such folder");
        }
        let mark = Mark::of_command(ctx);
        let (variable, value) = mark.variable();
        let mut command = Command::new(&bash.shell);
        command.arg("-c").arg(&bash.command);
        command.envs(about(ctx)).envs(&bash.env).envs(secrets.iter().map(|(name, secret)| (name, secret.expose())));
        command.env(variable, value);
        if let Some(folder) = &bash.cwd {
            command.current_dir(folder);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (leader, mut child) = Leader::start(&mut command, mark)
            .with_context(|| format!("the shell `{}` cannot be started: is it installed, and in PATH?", bash.shell))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let running = Running { leader, child };
        Ok((running, out.context("the command has no stdout")?, err.context("the command has no stderr")?))
    }

    /// Kills what is left of it, and tells how it ended.
    async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        self.leader.end().await;
        self.child.wait().await.context("the command was lost")
    }
}

/// Waits for the end of this process, and leaves it to be reaped: until then nobody else can get its number.
async fn exited(leader: Pid) {
    let wait = move || {
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
    };
    drop(tokio::task::spawn_blocking(wait).await);
}

/// What a command may know of its try.
fn about(ctx: &Context) -> Vec<(&'static str, String)> {
    let mut known = vec![
        ("FLOW_DAG_ID", ctx.dag_id().to_string()),
        ("FLOW_RUN_ID", ctx.run_id().to_string()),
        ("FLOW_TASK_ID", ctx.task_id().to_string()),
        ("FLOW_TRY_NUMBER", ctx.try_number().to_string()),
    ];
    known.extend(ctx.map_index().map(|index| ("FLOW_MAP_INDEX", index.to_string())));
    known.extend(ctx.logical_date().map(|date| ("FLOW_LOGICAL_DATE", date.to_rfc3339())));
    if let Some(interval) = ctx.data_interval() {
        known.push(("FLOW_DATA_INTERVAL_START", interval.start.to_rfc3339()));
        known.push(("FLOW_DATA_INTERVAL_END", interval.end.to_rfc3339()));
    }
    known
}

/// Hands on every line of a stream, until it ends.
async fn lines(mut stream: impl AsyncRead + Unpin, line: impl Fn(&str)) {
    let tell = |bytes: &[u8]| line(String::from_utf8_lossy(bytes).trim_end_matches('\r'));
    let mut lines = Lines::default();
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        lines.push(&chunk[..read], tell);
    }
    lines.finish(tell);
}

/// What is kept of what it said.
#[derive(Default)]
struct Said {
    /// The last line of stdout in which something stands.
    last: Mutex<String>,
    /// The last lines of stderr.
    errors: Mutex<VecDeque<String>>,
}

impl Said {
    fn out(&self, line: &str) {
        if !line.trim().is_empty() {
            tracing::info!(target: "stdout", "{line}");
            line.trim().clone_into(&mut self.last.lock());
        }
    }

    fn err(&self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        tracing::warn!(target: "stderr", "{line}");
        let mut errors = self.errors.lock();
        errors.push_back(line.trim().chars().take(TOLD_CHARS).collect());
        if errors.len() > TOLD {
            errors.pop_front();
        }
    }

    fn outcome(&self, status: ExitStatus) -> anyhow::Result<String> {
        let how = match (status.code(), status.signal()) {
            (Some(0), _) => return Ok(self.last.lock().clone()),
            (Some(SKIP), _) => return Err(TaskError::skip(format!("the command ended with code {SKIP}"))),
            (Some(code), _) => format!("the command ended with code {code}"),
            (None, Some(signal)) => format!("the command was ended by {}", signal_name(signal)),
            (None, None) => "the command ended, and nobody knows how".to_string(),
        };
        let said = Vec::from(self.errors.lock().clone()).join("; ");
        if said.is_empty() { bail!(how) } else { bail!("{how}; it said: {said}") }
    }
}
