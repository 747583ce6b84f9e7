//! Telling by HTTP.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Most bytes of a refusal that are kept.
const SHOWN: usize = 200;

/// One for the process: to make one reads the certificates of the system.
fn client() -> Result<Client, String> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    // An error says that a provider is installed; that is the wish.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("flow/", env!("CARGO_PKG_VERSION"));
    // Who follows a redirect sends a secret to somebody else, and a POST often as a GET.
    // And a connection that is kept would belong to the runtime that made it.
    let client = Client::builder().user_agent(agent).redirect(Policy::none()).pool_max_idle_per_host(0).build();
    let client = client.map_err(|e| format!("no HTTP client could be made: {}", reason(&e)))?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// Posts the body. The key of the payload goes along, the same at each attempt.
pub(super) async fn post(
    url: &str,
    headers: &BTreeMap<String, String>,
    payload: &Map<String, Value>,
    body: &Map<String, Value>,
) -> Result<(), String> {
    let mut all = HeaderMap::new();
    all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = payload.get("key").and_then(Value::as_str).unwrap_or_default();
    for (name, value) in headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([("idempotency-key", key)]) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` cannot name a header"))?;
        let value =
            HeaderValue::from_str(value).map_err(|_| format!("the value of the header `{name}` cannot be sent"))?;
        all.insert(name, value);
    }
    let body = serde_json::to_string(body).map_err(|e| e.to_string())?;
    let sent = client()?.post(url).headers(all).body(body).send().await;
    let response = sent.map_err(|e| reason(&e))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let said = beginning(response).await;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(if said.is_empty() { format!("the answer was {status}") } else { format!("the answer was {status}: {said}") })
}

/// What went wrong, down to its cause, without the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut words = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    match words.is_empty() {
        true if error.is_builder() => "that is no URL to post to".into(),
        true => "the request failed".into(),
        false => words,
    }
}

async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(SHOWN - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
