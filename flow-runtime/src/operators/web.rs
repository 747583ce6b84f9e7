//! A request to a web server, as a task.

use crate::context::Context;
use crate::error::{Result, TaskError};
use crate::secret::Secret;
use crate::{task, value};
use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use flow_data::{Error, Reply, Request, redact};
use std::collections::BTreeMap;
use std::time::Duration;

/// A server that asks for patience gets it for this long in one try; then the try fails.
const PATIENCE: Duration = Duration::from_secs(3600);
/// It is left alone for so long at least, also if it asks for less.
const SHORTEST: Duration = Duration::from_secs(1);
/// So much of an answer is told in an error.
const TOLD_CHARS: usize = 200;
/// What may hold a session is not stored.
const UNKEPT: [&str; 2] = ["set-cookie", "www-authenticate"];

/// A request. What is written here is stored: secrets go into a header by [`Http::send_with`] or [`http_with_secret`].
#[value]
pub struct Http {
    /// `GET`, `POST`, ..
    pub method: String,
    /// `http://` or `https://`.
    pub url: String,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What is sent.
    #[serde(default)]
    pub body: Option<String>,
    /// The statuses that are a success; none for 200 to 299.
    #[serde(default)]
    pub expected: Vec<u16>,
    /// The longest that it may take, in seconds.
    #[serde(default = "a_minute")]
    pub timeout_seconds: u64,
    /// The most bytes that the answer may have.
    #[serde(default = "a_mebibyte")]
    pub most_bytes: u64,
}

fn a_minute() -> u64 {
    60
}

fn a_mebibyte() -> u64 {
    1 << 20
}

/// The answer to a request.
#[value]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// The headers by their names in small letters, without cookies.
    pub headers: BTreeMap<String, String>,
    /// The content as text; what is no UTF-8 is replaced by U+FFFD.
    pub body: String,
}

impl HttpReply {
    /// The content, read as JSON.
    ///
    /// # Errors
    /// It is no JSON, or no `T`.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.body).context("the server's answer is not the JSON that is wanted")
    }
}

impl Http {
    /// A request of this method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Http {
        Http {
            method: method.into(),
            url: url.into(),
            headers: BTreeMap::new(),
            body: None,
            expected: Vec::new(),
            timeout_seconds: a_minute(),
            most_bytes: a_mebibyte(),
        }
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Http {
        Http::new("GET", url)
    }

    /// A `POST` of a JSON text.
    pub fn post_json(url: impl Into<String>, json: &serde_json::Value) -> Http {
        Http::new("POST", url).header("content-type", "application/json").body(json.to_string())
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Http {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// With this content.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Http {
        self.body = Some(body.into());
        self
    }

    /// This status is a success (as well as others that are named so).
    #[must_use]
    pub fn expect(mut self, status: u16) -> Http {
        self.expected.push(status);
        self
    }

    /// It may take so long at most; whole seconds.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Http {
        self.timeout_seconds = timeout.as_secs().max(1);
        self
    }

    /// Sends it, for a task of one's own; see [`http`].
    ///
    /// # Errors
    /// As those of [`http`].
    pub async fn send(&self, ctx: &Context) -> Result<HttpReply> {
        self.send_with(ctx, &[]).await
    }

    /// Sends it with secrets in these headers, which are not stored.
    ///
    /// # Errors
    /// As those of [`http`].
    pub async fn send_with(&self, ctx: &Context, secrets: &[(&str, &Secret<String>)]) -> Result<HttpReply> {
        let reply = self.exchange(ctx, secrets).await?;
        if !self.is_expected(reply.status) {
            return Err(self.refused(ctx, &reply));
        }
        tracing::info!(status = reply.status, bytes = reply.body.len(), "{} {}", self.method, redact(&self.url));
        let Reply { status, mut headers, body } = reply;
        headers.retain(|name, _| !UNKEPT.contains(&name.as_str()));
        Ok(HttpReply { status, headers, body: text(&body) })
    }

    /// The answer, whatever its status.
    pub(crate) async fn exchange(&self, ctx: &Context, secrets: &[(&str, &Secret<String>)]) -> Result<Reply> {
        let plain = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = Request {
            method: &self.method,
            url: &self.url,
            headers: plain.chain(secrets.iter().map(|(name, value)| (*name, value.expose().as_str()))).collect(),
            body: self.body.as_deref().unwrap_or_default().as_bytes(),
            timeout: Duration::from_secs(self.timeout_seconds),
            most_bytes: usize::try_from(self.most_bytes).unwrap_or(usize::MAX),
        };
        tokio::select! {
            reply = flow_data::request(&request) => Ok(reply?),
            () = ctx.cancel().cancelled() => bail!("the request was told to end"),
        }
    }

    pub(crate) fn is_expected(&self, status: u16) -> bool {
        if self.expected.is_empty() { (200..300).contains(&status) } else { self.expected.contains(&status) }
    }

    /// An answer that is none: tried again when the server says so, if it does.
    fn refused(&self, ctx: &Context, reply: &Reply) -> anyhow::Error {
        let error = self.status_error(reply);
        let waited = (ctx.now() - ctx.began()).to_std().unwrap_or_default();
        match retry_after(reply, ctx.now()).map(|wait| wait.max(SHORTEST)) {
            Some(wait) if !error.is_permanent() && waited.saturating_add(wait) <= PATIENCE => {
                tracing::info!("{error}; it asks to wait {}", flow_core::parse::human(wait));
                TaskError::reschedule(wait)
            }
            _ => error.into(),
        }
    }

    pub(crate) fn status_error(&self, reply: &Reply) -> Error {
        let said: String = text(&reply.body).trim().chars().take(TOLD_CHARS).collect();
        let hint = if said.is_empty() { "and says no more".into() } else { redact(&said) };
        Error::Status { status: reply.status, url: redact(&self.url), hint }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How long the server asks to wait: in seconds, or until a date.
fn retry_after(reply: &Reply, now: DateTime<Utc>) -> Option<Duration> {
    let asked = reply.headers.get("retry-after")?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(asked).ok()?.with_timezone(&Utc);
    (at - now).to_std().ok()
}

/// Sends a request, and gives the answer: status, headers, content.
///
/// Another status than is expected is an error with the beginning of the content. One of 4xx fails the task, for no retry
/// would mend it; 408, 425, 429 and 5xx, like a server that cannot be reached, fail the try. Where the server says
/// `Retry-After`, the task gives its slot back for so long, which costs no try, for an hour in all.
///
/// # Errors
/// As said; also a URL, method or header that is none, and an answer that is too large.
#[task]
pub async fn http(ctx: &Context, request: Http) -> Result<HttpReply> {
    request.send(ctx).await
}

/// [`http`] of a `GET`.
///
/// # Errors
/// As those of [`http`].
#[task]
pub async fn http_get(ctx: &Context, url: String) -> Result<HttpReply> {
    Http::get(url).send(ctx).await
}

/// [`http`], with a secret in the header of this name: `"authorization"`, and a secret like `Bearer ..`. (A redirect to another
/// host does not get `authorization`; it does get other headers.)
///
/// # Errors
/// As those of [`http`].
#[task]
pub async fn http_with_secret(
    ctx: &Context,
    request: Http,
    header: String,
    secret: Secret<String>,
) -> Result<HttpReply> {
    request.send_with(ctx, &[(&header, &secret)]).await
}
