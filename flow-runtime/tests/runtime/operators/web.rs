//! Requests to a server of a script.

use super::server::{Reply, Server};
use crate::engine::{World, row};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::operators::{self, Http, HttpReply};
use flow_runtime::prelude::*;
use flow_runtime::sensors;
use serde_json::json;

#[task]
fn sum(reply: HttpReply) -> Result<u64> {
    ensure!(reply.status == 200 && !reply.headers.contains_key("set-cookie"), "{reply:?}");
    Ok(reply.json::<Vec<u64>>()?.iter().sum())
}

#[task]
fn order(base: String) -> Http {
    Http::post_json(format!("{base}/orders"), &json!({"n": 7})).header("x-from", "flow").expect(201)
}

#[dag(defaults(retries = 2, retry_delay = "1h"))]
fn asking(numbers: String, base: String, key: Secret<String>) {
    sum(operators::http_get(numbers));
    let posted = operators::http_with_secret(order(base), "authorization", key);
    status(posted);
}

#[task]
fn status(reply: HttpReply) -> u16 {
    reply.status
}

#[test]
fn an_answer_is_the_value_and_a_secret_goes_into_a_header() {
    let server = Server::start(|request| match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/numbers") => Reply::new(200, "[1, 2, 3]").with("Set-Cookie", "session=1"),
        ("POST", "/orders") => Reply::new(201, ""),
        _ => Reply::new(404, "no such page"),
    });
    let run = asking::test()
        .param("numbers", server.at("/numbers"))
        .param("base", &server.url)
        .param("key", "Bearer planted-key")
        .run_blocking()
        .succeeded();
    assert_eq!((run.value::<u64>("sum"), run.value::<u16>("status")), (6, 201));
    let requests = server.requests();
    let posted = requests.iter().find(|r| r.method == "POST").unwrap();
    assert_eq!((posted.header("authorization"), posted.header("x-from")), (Some("Bearer planted-key"), Some("flow")));
    assert_eq!((posted.header("content-type"), &posted.body[..]), (Some("application/json"), &b"{\"n\":7}"[..]));
}

#[dag(defaults(retries = 2, retry_delay = "1h"))]
fn getting(url: String) {
    operators::http_get(url);
}

#[test]
fn a_fault_of_the_server_is_tried_again_and_one_of_ours_is_not() {
    let server = Server::start(|request| match request.target.as_str() {
        "/busy" if request.number < 2 => Reply::new(503, "busy"),
        "/busy" => Reply::new(200, "done"),
        "/gone" => Reply::new(410, "moved to token=planted-here"),
        _ => Reply::new(200, vec![b'x'; (1 << 20) + 1]),
    });
    let busy = getting::test().param("url", server.at("/busy")).run_blocking().succeeded();
    assert_eq!((busy.tries("http_get"), busy.value::<HttpReply>("http_get").body), (3, "done".into()));
    let gone = getting::test().param("url", server.at("/gone")).run_blocking().failed();
    let cause = gone.cause("http_get");
    assert_eq!(gone.tries("http_get"), 1, "{cause}");
    assert!(cause.contains("the server answered 410: moved to"), "{cause}");
    let large = getting::test().param("url", server.at("/large")).run_blocking().failed();
    assert!(large.cause("http_get").contains("more than 1048576 bytes"), "{}", large.cause("http_get"));
    let none = getting::test().param("url", "http://127.0.0.1:1/").run_blocking().failed();
    assert_eq!(none.tries("http_get"), 3, "{}", none.cause("http_get"));
    let ftp = getting::test().param("url", "ftp://host/x").run_blocking().failed();
    assert_eq!((ftp.tries("http_get"), ftp.cause("http_get").contains("use http:// or https://")), (1, true));
}

#[test]
fn who_asks_for_patience_gets_it_for_an_hour_and_it_costs_no_try() {
    let server = Server::start(|request| match request.target.as_str() {
        "/later" if request.number < 3 => Reply::new(429, "").with("Retry-After", 600),
        "/later" => Reply::new(200, "now"),
        _ => Reply::new(429, "").with("Retry-After", 600),
    });
    let run = getting::test().param("url", server.at("/later")).run_blocking().succeeded();
    assert_eq!((run.tries("http_get"), run.took().as_secs() / 60), (1, 30));
    let run = getting::test().param("url", server.at("/never")).run_blocking().failed();
    assert_eq!(run.tries("http_get"), 3);
    assert!(run.cause("http_get").contains("answered 429"), "{}", run.cause("http_get"));
}

#[test]
fn nobody_is_asked_without_a_pause_and_no_wait_is_too_long_to_be_refused() {
    let server = Server::start(|request| match request.number {
        0..3 => Reply::new(503, "").with("Retry-After", 0),
        _ => Reply::new(200, "now"),
    });
    let run = getting::test().param("url", server.at("/")).run_blocking().succeeded();
    assert_eq!((run.tries("http_get"), run.took().as_secs()), (1, 3));
    let server = Server::start(|request| {
        let wait = if request.number % 2 == 0 { 600 } else { u64::MAX };
        Reply::new(503, "").with("Retry-After", wait)
    });
    let run = getting::test().param("url", server.at("/")).run_blocking().failed();
    assert_eq!((run.tries("http_get"), server.requests().len()), (3, 6));
    assert!(run.cause("http_get").contains("answered 503"), "{}", run.cause("http_get"));
}

#[dag]
fn looking(base: String) {
    let there = sensors::http_with(page(base), "ready").poke_interval("1m");
    there >> operators::empty();
}

#[task]
fn page(base: String) -> Http {
    Http::get(format!("{base}/state"))
}

#[dag]
fn looking_at(url: String) {
    sensors::http(url).timeout("10m");
}

#[test]
fn a_sensor_waits_for_the_answer() {
    let server = Server::start(|request| match (request.target.as_str(), request.number) {
        ("/state", 0) => Reply::new(404, ""),
        ("/state", 1) => Reply::new(500, "oh"),
        ("/state", 2) => Reply::new(200, "not yet"),
        ("/state", _) => Reply::new(200, "it is ready"),
        _ => Reply::new(403, "not you"),
    });
    let run = looking::test().param("base", &server.url).run_blocking().succeeded();
    assert_eq!((server.requests().len(), run.took().as_secs() / 60), (4, 3));
    let run = looking_at::test().param("url", server.at("/secret")).run_blocking().failed();
    assert!(run.cause("http").contains("answered 403: not you"), "{}", run.cause("http"));
    let run = looking_at::test().param("url", "http://127.0.0.1:1/").run_blocking().failed();
    assert!(run.cause("http").contains("has not come in 10m"), "{}", run.cause("http"));
}

#[dag]
fn waiting_for_an_object(url: String) {
    sensors::object_exists(url).poke_interval("5ms").timeout("200ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_waited_for() {
    let world = World::new().await;
    let path = world.home.path().join("object");
    let url = format!("file://{}", path.display());
    let ran = world.try_run(waiting_for_an_object::dag(), "object-none", json!({"url": url})).await.unwrap();
    assert_eq!((ran.run.state, row(&ran, "object_exists").state), (RunStatus::Failed, TaskState::Failed));
    std::fs::write(path, "x").unwrap();
    let ran = world.try_run(waiting_for_an_object::dag(), "object-there", json!({"url": url})).await.unwrap();
    assert_eq!((ran.run.state, crate::engine::value(&ran, "object_exists")), (RunStatus::Success, json!(url)));
}
