//! Deliveries: to receivers that answer, refuse, hang and are not there, by several who tell.

use crate::engine::World;
use flow_runtime::core::{Dag, RunStatus};
use flow_runtime::notify::{Channel, Deliverer};
use flow_runtime::prelude::*;
use flow_runtime::store::{CallbackFilter, CallbackRow, CallbackState, RunPk};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// One request: its head in lower case, and its body.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// Answers on a free port of this machine with these lines, one for each request; the last for all that follow.
async fn receiver(answers: &'static [&'static str]) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let heard = Heard::default();
    let (hears, mut number) = (heard.clone(), 0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answers[number.min(answers.len() - 1)];
            number += 1;
            let hears = hears.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let (head, body) = loop {
                    let mut part = [0; 4096];
                    let read = stream.read(&mut part).await.unwrap_or(0);
                    bytes.extend_from_slice(&part[..read]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let head = head.to_lowercase();
                        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                        if read == 0 || length.is_some_and(|length| length.parse() == Ok(body.len())) {
                            break (head, body.to_string());
                        }
                    } else if read == 0 {
                        return;
                    }
                };
                hears.lock().push((head, body));
                if answer == "hang" {
                    std::future::pending::<()>().await;
                }
                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsorry");
                drop(stream.write_all(answer.as_bytes()).await);
            });
        }
    });
    (url, heard)
}

#[task]
fn broken() -> Result<()> {
    bail!("it <is> broken")
}

fn dag(to: &[&str]) -> Dag {
    let names: Vec<Notifier> = to.iter().map(|name| Notifier::named(*name)).collect();
    let built = DagBuilder::new("told").build(|_| {
        broken::node().on_failure(names);
    });
    built.unwrap()
}

async fn world(channels: impl IntoIterator<Item = (&'static str, Channel)>) -> World {
    let mut world = World::new().await;
    world.settings.notifiers.extend(channels.into_iter().map(|(name, channel)| (name.to_string(), channel)));
    world
}

fn webhook(url: &str) -> Channel {
    Channel::Webhook { url: url.into(), headers: BTreeMap::new(), timeout: Duration::from_millis(500) }
}

async fn rows(world: &World) -> Vec<CallbackRow> {
    world.store.callbacks(CallbackFilter::default()).await.unwrap()
}

/// Runs it to its end, and returns its number.
async fn run(world: &World, to: &[&str], run_id: &str) -> RunPk {
    let report = world.run(dag(to), run_id).await;
    assert_eq!(report.run.state, RunStatus::Failed);
    report.report.pk
}

/// The value of a header.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_payload_and_its_key_until_it_takes_it() {
    let (url, heard) = receiver(&["503 Service Unavailable", "200 OK"]).await;
    let headers = BTreeMap::from([("authorization".to_string(), "Bearer planted-token-1".to_string())]);
    let hook = Channel::Webhook { url, headers, timeout: Duration::from_secs(5) };
    let world = world([("hook", hook)]).await;
    let run = run(&world, &["hook"], "notify-webhook").await;
    let deliverer = Deliverer::start(&world.engine());
    assert_eq!(deliverer.wait_for(run, Duration::from_secs(20)).await.unwrap(), 0);
    deliverer.stop().await;
    let row = &rows(&world).await[0];
    assert_eq!((row.state, row.attempts, &row.error), (CallbackState::Success, 2, &None));
    let heard = heard.lock().clone();
    let payload: serde_json::Value = serde_json::from_str(&row.callback.payload).unwrap();
    for (head, body) in &heard {
        assert!(head.starts_with("post /hook http/1.1"), "{head}");
        assert_eq!(header(head, "content-type"), Some("application/json"));
        assert_eq!(header(head, "idempotency-key"), payload["key"].as_str());
        assert_eq!(header(head, "authorization"), Some("bearer planted-token-1"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), payload);
    }
    assert_eq!(heard.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_gets_a_sentence() {
    let (url, heard) = receiver(&["200 OK"]).await;
    let world = world([("ops", Channel::Slack { url, timeout: Duration::from_secs(5) })]).await;
    let run = run(&world, &["ops"], "notify-slack").await;
    let deliverer = Deliverer::start(&world.engine());
    assert_eq!(deliverer.wait_for(run, Duration::from_secs(20)).await.unwrap(), 0);
    let body: serde_json::Value = serde_json::from_str(&heard.lock()[0].1).unwrap();
    let text = "told: broken failed: it &lt;is&gt; broken (run notify-slack)";
    assert_eq!(body, serde_json::json!({"text": text}));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_payload_on_stdin_and_is_ended_when_it_takes_too_long() {
    let place = tempfile::tempdir().unwrap();
    let told = place.path().join("told");
    let shell = |script: String, timeout| Channel::Command { argv: vec!["sh".into(), "-c".into(), script], timeout };
    let writes = shell(format!("cat > {}", told.display()), Duration::from_secs(5));
    let refuses = shell("echo 'no such room' >&2; exit 3".into(), Duration::from_secs(5));
    let pid = place.path().join("pid");
    let hangs = shell(format!("sleep 1000 & echo $! > {}; wait", pid.display()), Duration::from_millis(300));
    let world = world([("writes", writes), ("refuses", refuses), ("hangs", hangs)]).await;
    run(&world, &["writes", "refuses", "hangs"], "notify-command").await;
    let deliverer = Deliverer::start(&world.engine());
    let settled =
        async || rows(&world).await.iter().all(|row| row.state == CallbackState::Success || row.error.is_some());
    for _ in 0..1000 {
        if settled().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    deliverer.stop().await;
    let rows = rows(&world).await;
    let error = |name: &str| {
        let row = rows.iter().find(|row| row.callback.notifier.contains(name)).unwrap();
        row.error.clone().unwrap_or_default()
    };
    assert_eq!(error("refuses"), "`sh` ended with exit status: 3: no such room");
    assert_eq!(error("hangs"), "it took longer than 300ms");
    let written = rows.iter().find(|row| row.callback.notifier.contains("writes")).unwrap();
    assert_eq!(written.state, CallbackState::Success);
    assert_eq!(std::fs::read_to_string(told).unwrap(), &*written.callback.payload);
    // What it had started is gone too, or a zombie of nobody's.
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    crate::engine::until("its child is gone", || stat().is_empty() || stat().contains(") Z ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_or_is_not_there_holds_up_no_run_and_no_other_receiver() {
    let (hangs, _) = receiver(&["hang"]).await;
    let (answers, heard) = receiver(&["204 No Content"]).await;
    // Nobody listens there any more.
    let gone = { format!("http://{}/", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()) };
    let world = world([("hangs", webhook(&hangs)), ("gone", webhook(&gone)), ("answers", webhook(&answers))]).await;
    let deliverer = Deliverer::start(&world.engine());
    for n in 0..20 {
        run(&world, &["hangs", "gone", "answers"], &format!("notify-hangs-{n}")).await;
    }
    crate::engine::until("all of them are told", || heard.lock().len() >= 20).await;
    deliverer.stop().await;
    let rows = rows(&world).await;
    let of = |name: &str| rows.iter().filter(|row| row.callback.notifier.contains(name)).cloned().collect::<Vec<_>>();
    assert!(of("answers").iter().all(|row| row.state == CallbackState::Success && row.attempts == 1));
    for name in ["hangs", "gone"] {
        assert!(of(name).iter().all(|row| row.state == CallbackState::Pending), "{name}");
    }
    let error = of("gone").iter().find_map(|row| row.error.clone()).unwrap();
    assert!(error.contains("refused") && !error.contains(&gone), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_who_tell_take_each_one_once() {
    let (url, heard) = receiver(&["200 OK"]).await;
    let world =
        world([("hook", Channel::Webhook { url, headers: BTreeMap::new(), timeout: Duration::from_secs(20) })]).await;
    for n in 0..30 {
        run(&world, &["hook"], &format!("notify-several-{n}")).await;
    }
    let deliverers: Vec<Deliverer> = (0..4).map(|_| Deliverer::start(&world.engine())).collect();
    for row in rows(&world).await {
        assert_eq!(deliverers[0].wait_for(row.run, Duration::from_secs(20)).await.unwrap(), 0);
    }
    for deliverer in deliverers {
        deliverer.stop().await;
    }
    assert_eq!(heard.lock().len(), 30, "nobody was told twice");
    assert!(rows(&world).await.iter().all(|row| row.state == CallbackState::Success && row.attempts == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_last_attempt_it_has_failed() {
    use flow_runtime::clock::{Clock, SkippingClock, SystemClock};
    use flow_runtime::notify::MOST_ATTEMPTS;
    let (url, heard) = receiver(&["500 Internal Server Error"]).await;
    let world = world([("hook", webhook(&url))]).await;
    let pk = run(&world, &["hook"], "notify-last").await;
    for attempt in 1..=MOST_ATTEMPTS {
        // Each time it is due, two hours later.
        let now = SystemClock.now() + chrono::TimeDelta::hours(2 * i64::from(attempt));
        let engine = world.engine().with_clock(Arc::new(SkippingClock::starting_at(now)));
        let deliverer = Deliverer::start(&engine);
        crate::engine::until("it is tried", || heard.lock().len() >= attempt as usize).await;
        deliverer.wait_for(pk, Duration::from_millis(1)).await.unwrap();
        deliverer.stop().await;
    }
    let row = &rows(&world).await[0];
    assert_eq!((row.state, row.attempts), (CallbackState::Failed, MOST_ATTEMPTS));
    assert_eq!(row.error.as_deref(), Some("the answer was 500 Internal Server Error: sorry"));
}
