//! The child: one try, told of line by line.

use super::message::{End, Order, Report, Request};
use super::{VARIABLE, WORD, offspring};
use crate::ask::{Answer, Answers, Ask, Host};
use crate::clock::SystemClock;
use crate::context::{Context, ContextParts};
use crate::error::NotYet;
use crate::executor::outcome::TryEnd;
use crate::executor::progress::Throttle;
use crate::executor::{panic, settled, try_runner};
use crate::made::Notes;
use crate::registry::Bodies;
use crate::telemetry::{self, EventSink};
use crate::value::{Erased, Inputs};
use anyhow::Context as _;
use flow_core::{InstanceKey, TryRef};
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process_group};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Level;

/// Exit code of a child that could not speak with its parent.
const NO_PARENT: u8 = 86;

/// Runs a try, if this program was started as a child; call it first thing in `main`, as
/// [`cli::main`](crate::cli::main) does. `None`: it was not.
pub fn serve() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != WORD {
        return None;
    }
    // The parent sees that the socket is closed, and says the rest.
    Some(work().map_or(ExitCode::from(NO_PARENT), |()| ExitCode::SUCCESS))
}

fn work() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // What is no socket has no address: a person has tried the word.
    socket.local_addr()?;
    // What the task starts must not hold, or read from, the socket.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let mut orders = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    orders.read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    drop(line);

    let voice = Voice(Arc::new(Mutex::new(socket)));
    let cancel = CancellationToken::new();
    let answers = Arc::new(Remote { voice: voice.clone(), waiting: Mutex::default(), count: AtomicU64::new(0) });
    listen(orders, cancel.clone(), answers.clone())?;
    panic::install_hook();
    telemetry::init_with(&request.log);
    let end = run(request, &voice, cancel, Host(answers))?;
    voice.say(&Report::End(end))?;
    // Threads that the body left behind are not waited for.
    drop(io::stdout().flush());
    std::process::exit(0)
}

/// Hears orders on a thread of its own, whatever the body does to the others. A parent that is gone takes the try with it.
fn listen(orders: BufReader<UnixStream>, cancel: CancellationToken, answers: Arc<Remote>) -> io::Result<()> {
    let listener = std::thread::Builder::new().name("flow-orders".into());
    let hear = move || {
        for line in orders.lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Order::Cancel) => cancel.cancel(),
                Ok(Order::Answer(number, answer)) => answers.hear(number, answer),
                Err(_) => {}
            }
        }
        let token = std::env::var(VARIABLE).unwrap_or_default();
        offspring::kill(getpid(), &offspring::Mark::of_isolated(&token));
        let _dead = kill_process_group(getpid(), Signal::KILL);
        std::process::exit(i32::from(NO_PARENT));
    };
    listener.spawn(hear).map(drop)
}

fn run(request: Request, voice: &Voice, cancel: CancellationToken, host: Host) -> io::Result<End> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let of = TryRef { key: InstanceKey { task: 0, map_index: request.map_index }, try_number: request.try_number };
    let Some(body) = Bodies::collect().get(&request.body) else {
        let error = anyhow::anyhow!("this program has no function `{}`", request.body);
        return Ok(ended(TryEnd::error(of, &error, &SystemClock)));
    };
    let inputs = request.inputs.into_iter().map(|text| Erased::from_json(Box::<str>::from(text)));
    let inputs = Inputs::new(inputs.collect());
    let sink: Arc<dyn EventSink> = Arc::new(voice.clone());
    let span = telemetry::try_span(&sink, &request.task_id, request.map_index, request.try_number);
    let teller = voice.clone();
    let throttle = Throttle::new(move |done, total, unit| drop(teller.say(&Report::Progress(done, total, unit))));
    let notes = Notes::default();
    let parts = ContextParts {
        dag_id: request.dag_id,
        run_id: request.run_id,
        task_id: request.task_id.to_string(),
        map_index: request.map_index,
        try_number: request.try_number,
        tries: request.tries,
        logical_date: request.logical_date,
        data_interval: request.data_interval,
        params: request.params,
        home: request.home,
        memory: request.memory,
        connections: request.connections,
        run_start: request.run_start,
        began: request.began,
        clock: Arc::new(SystemClock),
        cancel,
        progress: throttle.progress(),
        triggering_events: request.triggering_events,
        host,
    };
    let context = Context::with_notes(parts, notes.clone());
    let returned = runtime.block_on(async { try_runner::called(body, span, inputs, context).await });
    throttle.close();
    // Where somebody will not wait, the parent kills this process.
    settled::settle(&runtime, &CancellationToken::new());
    runtime.shutdown_background();
    Ok(match returned {
        Ok(Ok(value)) => End::Value { json: raw(value.json())?, told: notes.told() },
        Ok(Err(error)) if error.is::<NotYet>() => End::NotYet,
        Ok(Err(error)) => ended(TryEnd::error(of, &error, &SystemClock)),
        Err(panicked) => ended(TryEnd::panicked(of, panicked)),
    })
}

fn raw(json: &str) -> io::Result<Box<serde_json::value::RawValue>> {
    Ok(serde_json::value::RawValue::from_string(json.to_string())?)
}

fn ended(end: TryEnd) -> End {
    End::Other { outcome: end.outcome, cause: end.cause, event: end.event }
}

/// Asks the parent.
struct Remote {
    voice: Voice,
    /// Who waits for the answer of which number.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Answer, String>>>>,
    count: AtomicU64,
}

impl Remote {
    fn hear(&self, number: u64, answer: Result<Answer, String>) {
        if let Some(waits) = self.waiting.lock().remove(&number) {
            // Whoever has asked may have gone.
            drop(waits.send(answer));
        }
    }
}

#[async_trait::async_trait]
impl Answers for Remote {
    async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (waits, answer) = oneshot::channel();
        self.waiting.lock().insert(number, waits);
        self.voice.say(&Report::Ask(number, ask)).context("the engine cannot be asked")?;
        answer.await.context("the engine has gone away")?.map_err(anyhow::Error::msg)
    }
}

/// The way to the parent.
#[derive(Clone)]
struct Voice(Arc<Mutex<UnixStream>>);

impl Voice {
    fn say(&self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        self.0.lock().write_all(&line)
    }
}

impl EventSink for Voice {
    fn record(&self, level: Level, logger: &str, message: &str, fields: Map<String, Value>) {
        let (level, logger, message) = (level.to_string(), logger.to_string(), message.to_string());
        // Without a parent this process is about to end.
        drop(self.say(&Report::Log { level, logger, message, fields }));
    }
}
