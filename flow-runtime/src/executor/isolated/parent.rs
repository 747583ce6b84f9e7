//! The parent's side of a try in a child: start it, listen, and end it with all that it has started.

use super::message::{End, Order, Report, Request};
use super::offspring::{Leader, Mark};
use super::prints::{self, Tail};
use super::{SLACK, VARIABLE, WORD, offspring};
use crate::ask::Host;
use crate::clock::{Clock as _, SystemClock};
use crate::context::Progress;
use crate::executor::outcome::TryEnd;
use crate::executor::scope::Scope;
use crate::executor::try_runner::{self, Job, Returned};
use crate::secret::redact;
use crate::store::CauseKind;
use crate::telemetry::{self, EventSink as _};
use crate::value::{Erased, Inputs};
use flow_core::{Outcome, TryRef};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use serde_json::value::RawValue;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Time for what was printed last to arrive, once everybody who could print is dead.
const REST: Duration = Duration::from_secs(1);

/// Runs a try in a child. When the future is dropped, everything is killed.
pub(crate) async fn run(scope: &Arc<Scope>, job: &Job, inputs: Inputs, program: &Path, progress: Progress) -> Returned {
    let of = job.of;
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        let message = format!("{what}: {error}");
        TryEnd::without_value(of, Outcome::Failed, CauseKind::Process, &message)
    };
    let request = request(scope, job, &inputs).map_err(|e| refused("the arguments cannot be handed over", &e))?;
    let mut running = match Running::start(program, job, request).await {
        Ok(running) => running,
        // That is how it ends, as one that was told so later.
        Err(_) if job.cancel.is_cancelled() => {
            let message = "it was told to end before it had its arguments";
            return Err(TryEnd::without_value(of, Outcome::Failed, CauseKind::Error, message));
        }
        Err(e) => return Err(refused("no process for the try could be started", &e)),
    };
    let host = try_runner::host(scope, job);
    let end = running.listen(job, &scope.engine.settings.grace, &progress, &host).await;
    let status = running.end().await;
    match end {
        Some(End::Value { json, told }) => {
            job.told.replace(told);
            Ok(Some(Erased::from_json(Box::<str>::from(json))))
        }
        Some(End::NotYet) => Ok(None),
        Some(End::Other { outcome, cause, event }) => Err(TryEnd::reported(of, outcome, cause, event)),
        None => Err(died(of, status, &running.tail)),
    }
}

fn request(scope: &Scope, job: &Job, inputs: &Inputs) -> serde_json::Result<Request> {
    let task = &scope.dag.tasks[job.of.key.task as usize];
    let settings = &scope.engine.settings;
    let inputs = inputs.texts().map(|text| RawValue::from_string(text.to_string()));
    Ok(Request {
        body: task.body.clone(),
        inputs: inputs.collect::<serde_json::Result<_>>()?,
        dag_id: scope.dag.dag_id.clone(),
        run_id: scope.run_id.clone(),
        task_id: scope.ids.task(job.of.key.task),
        map_index: job.of.key.map_index,
        try_number: job.of.try_number,
        tries: job.tries,
        logical_date: scope.logical_date,
        data_interval: scope.data_interval,
        params: scope.shown_params.clone(),
        home: settings.home.clone(),
        memory: settings.task_memory,
        connections: settings.connections.clone(),
        run_start: scope.run_start,
        triggering_events: scope.made_for.clone(),
        began: job.began,
        log: telemetry::directives(),
    })
}

/// Why a process ended without a word.
fn died(of: TryRef, status: io::Result<ExitStatus>, tail: &Tail) -> TryEnd {
    let how = match status.as_ref().map(|status| (status.code(), status.signal())) {
        Ok((_, Some(9))) => "its process was ended by SIGKILL (9), as the system does when memory runs out".into(),
        Ok((_, Some(signal))) => format!("its process was ended by {}", offspring::signal_name(signal)),
        Ok((Some(code), _)) => format!("its process exited with code {code} before the task returned"),
        Ok((None, None)) => "its process ended before the task returned".into(),
        Err(error) => format!("its process was lost: {error}"),
    };
    let said = tail.text();
    let message = if said.is_empty() { how } else { format!("{how}; it said: {said}") };
    TryEnd::without_value(of, Outcome::Failed, CauseKind::Process, &message)
}

/// A child under way.
struct Running {
    leader: Leader,
    child: Child,
    socket: BufReader<tokio::net::unix::OwnedReadHalf>,
    orders: OwnedWriteHalf,
    /// What files its prints.
    prints: JoinSet<()>,
    tail: Tail,
}

impl Running {
    async fn start(program: &Path, job: &Job, request: Request) -> io::Result<Running> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (socket, orders) = UnixStream::from_std(ours)?.into_split();
        let token = token();
        let mut command = Command::new(program);
        command
            .arg(WORD)
            // For whoever looks at the list of processes.
            .arg(format!("{}/{}", request.dag_id, request.task_id))
            .env(VARIABLE, &token)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (leader, mut child) = Leader::start(&mut command, Mark::of_isolated(&token))?;
        // It is the child's alone, whose end closes it.
        drop(command);
        let (mut prints, tail) = (JoinSet::new(), Tail::default());
        if let Some(out) = child.stdout.take() {
            prints.spawn(prints::file(out, tracing::Level::INFO, "stdout", job.log.clone(), Tail::default()));
        }
        if let Some(err) = child.stderr.take() {
            prints.spawn(prints::file(err, tracing::Level::WARN, "stderr", job.log.clone(), tail.clone()));
        }
        let mut running = Running { leader, child, socket: BufReader::new(socket), orders, prints, tail };
        tokio::select! {
            said = running.say(&request) => said?,
            // A child that does not even listen to its arguments.
            () = job.cancel.cancelled() => return Err(io::ErrorKind::Interrupted.into()),
        }
        Ok(running)
    }

    async fn say(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.orders.write_all(&line).await
    }

    /// Hears the child out; `None` if it died without a word about its end. Told to stop, it has its grace; then its time
    /// is over, as it is when it lives on after its last word.
    async fn listen(&mut self, job: &Job, grace: &Duration, progress: &Progress, host: &Host) -> Option<End> {
        let mut line = Vec::new();
        let (mut end, mut told) = (None, false);
        let mut answers = FuturesUnordered::new();
        let mut deadline: Option<Instant> = None;
        loop {
            let over = async {
                match deadline {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = self.socket.read_until(b'\n', &mut line) => {
                    if !matches!(read, Ok(1..)) {
                        return end;
                    }
                    // A task that has got hold of the socket can say what it likes; it harms itself alone.
                    match serde_json::from_slice::<Report>(&line) {
                        Ok(Report::Log { level, logger, message, fields }) => {
                            job.log.record(level.parse().unwrap_or(tracing::Level::INFO), &logger, &message, fields);
                        }
                        Ok(Report::Progress(done, total, unit)) => progress.tell(done, total, unit),
                        Ok(Report::Ask(number, ask)) => answers.push(async move {
                            (number, host.0.ask(ask).await.map_err(|e| redact(&format!("{e:#}")).into_owned()))
                        }),
                        Ok(Report::End(how)) => {
                            end = Some(how);
                            deadline = Some(Instant::now() + SLACK);
                        }
                        Err(_) => {}
                    }
                    line.clear();
                }
                Some((number, answer)) = answers.next() => {
                    // One that does not hear it has ended, or is killed when its time is over.
                    drop(self.say(&Order::Answer(number, answer)).await);
                }
                () = job.cancel.cancelled(), if !told => {
                    told = true;
                    deadline = deadline.or(Some(Instant::now() + *grace));
                    // One that has closed its ears is killed when its grace is over.
                    drop(self.say(&Order::Cancel).await);
                }
                () = over => return end,
            }
        }
    }

    /// Kills what is left of it, and waits for its end.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        self.leader.end().await;
        let status = match timeout(SLACK, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end, although it was killed")),
        };
        drop(timeout(REST, async { while self.prints.join_next().await.is_some() {} }).await);
        status
    }
}

/// A text that no other try on this machine has.
fn token() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemClock.now().timestamp_micros();
    format!("{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
