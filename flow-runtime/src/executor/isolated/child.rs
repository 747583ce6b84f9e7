//! The child: one try, told of line by line.

use super::message::{End, Order, Report, Request};
use super::{VARIABLE, WORD, offspring};
use crate::clock::SystemClock;
use crate::context::{Context, ContextParts};
use crate::executor::outcome::TryEnd;
use crate::executor::progress::Throttle;
use crate::executor::{panic, try_runner};
use crate::registry::{Bodies, Body};
use crate::telemetry::{self, EventSink};
use crate::value::{Erased, Inputs};
use flow_core::{InstanceKey, TryRef};
use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process_group};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
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
    listen(orders, cancel.clone())?;
    panic::install_hook();
    telemetry::init_with(&request.log);
    let end = run(request, &voice, cancel)?;
    voice.say(&Report::End(end))?;
    // Threads that the body left behind are not waited for.
    drop(io::stdout().flush());
    std::process::exit(0)
}

/// Hears orders on a thread of its own, whatever the body does to the others. A parent that is gone takes the try with it.
fn listen(orders: BufReader<UnixStream>, cancel: CancellationToken) -> io::Result<()> {
    let listener = std::thread::Builder::new().name("flow-orders".into());
    let hear = move || {
        for line in orders.lines().map_while(Result::ok) {
            if let Ok(Order::Cancel) = serde_json::from_str(&line) {
                cancel.cancel();
            }
        }
        let token = std::env::var(VARIABLE).unwrap_or_default();
        offspring::kill(getpid(), &token);
        let _dead = kill_process_group(getpid(), Signal::KILL);
        std::process::exit(i32::from(NO_PARENT));
    };
    listener.spawn(hear).map(drop)
}

fn run(request: Request, voice: &Voice, cancel: CancellationToken) -> io::Result<End> {
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
    let throttle = Throttle::new(move |done, total| drop(teller.say(&Report::Progress(done, total))));
    let context = Context::new(ContextParts {
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
        run_start: request.run_start,
        clock: Arc::new(SystemClock),
        cancel,
        progress: throttle.progress(),
    });
    let returned = runtime.block_on(async {
        match body {
            Body::Async(body) => try_runner::polled(span, body(inputs, context)).await,
            Body::Blocking(body) => try_runner::blocking(span, move || body(inputs, context)).await,
        }
    });
    throttle.close();
    runtime.shutdown_background();
    Ok(match returned {
        Ok(Ok(value)) => End::Value(raw(value.json())?),
        Ok(Err(error)) => ended(TryEnd::error(of, &error, &SystemClock)),
        Err(panicked) => ended(TryEnd::panicked(of, panicked)),
    })
}

fn raw(json: &str) -> io::Result<Box<serde_json::value::RawValue>> {
    Ok(serde_json::value::RawValue::from_string(json.to_string())?)
}

fn ended(end: TryEnd) -> End {
    End::Other { outcome: end.outcome, cause: end.cause }
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
