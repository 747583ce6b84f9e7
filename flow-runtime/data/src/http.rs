//! One request to a web server, and its whole answer.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Method};
use url::Url;

use crate::error::with_causes;
use crate::redact::{redact, scrub};
use crate::{Error, Result, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be silent.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// A request. Its `Debug` shows no header and no body: they may hold secrets.
#[derive(Clone)]
pub struct Request<'a> {
    /// `GET`, `POST`, ..
    pub method: &'a str,
    /// Where to: `http://` or `https://`.
    pub url: &'a str,
    /// Headers, in order.
    pub headers: Vec<(&'a str, &'a str)>,
    /// What is sent; empty for nothing.
    pub body: &'a [u8],
    /// The longest that all of it may take.
    pub timeout: Duration,
    /// The most bytes that the answer may have.
    pub most_bytes: usize,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {})", self.method, redact(self.url))
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers by their names in small letters; of several of one name the last. What is no text is left out.
    pub headers: BTreeMap<String, String>,
    /// The content.
    pub body: Vec<u8>,
}

/// Sends a request and reads the whole answer, once: whoever wants another try calls again. Up to ten redirects are followed.
///
/// # Errors
/// A method, URL or header that is none (permanent); a server that cannot be reached, or breaks off; an answer that is too
/// large (permanent). A status is no error.
///
/// # Panics
/// Without a tokio runtime.
pub async fn request(request: &Request<'_>) -> Result<Reply> {
    let about = redact(request.url);
    let invalid = |why: &dyn std::fmt::Display| Error::Invalid(format!("`{about}`: {why}"));
    let url = Url::parse(request.url).map_err(|e| invalid(&e))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(&"use http:// or https://"));
    }
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| invalid(&format!("`{}` is no method: use GET, POST, PUT ..", request.method)))?;
    let failed = |error: reqwest::Error| {
        if error.is_builder() || error.is_redirect() {
            return invalid(&reason(error, request.url));
        }
        Error::Request { url: about.clone(), reason: reason(error, request.url) }
    };
    let mut builder = client()?.request(method, url).timeout(request.timeout).body(request.body.to_vec());
    for (name, value) in &request.headers {
        builder = builder.header(*name, *value);
    }
    let mut response = builder.send().await.map_err(failed)?;
    let text = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let mut reply = Reply {
        status: response.status().as_u16(),
        headers: response.headers().iter().filter_map(text).collect(),
        body: Vec::new(),
    };
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if reply.body.len() + chunk.len() > request.most_bytes {
            let most = request.most_bytes;
            return Err(invalid(&format!(
                "the answer has more than {most} bytes: allow more, or download it to a file"
            )));
        }
        reply.body.extend_from_slice(&chunk);
    }
    Ok(reply)
}

pub(crate) fn client() -> Result<Client> {
    tls::ready();
    Client::builder()
        .user_agent(concat!("flow-data/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        .build()
        .map_err(|e| {
            Error::Invalid(format!(
                "no HTTP client could be made (are the system's certificates installed?): {}",
                reason(e, "")
            ))
        })
}

/// The innermost causes of an HTTP client's error, without the URL.
pub(crate) fn reason(error: reqwest::Error, url: &str) -> String {
    scrub(&with_causes(&error.without_url()), url)
}
