//! One request to BigQuery, made again as often as makes sense.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BigQuery, Rights};
use crate::error::may_pass;
use crate::http::reason;
use crate::redact::scrub;
use crate::retry::{Attempts, retry_after};
use crate::{Error, Result};

/// An answer that is final.
pub(super) struct Reply<T = Value> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Of a success.
    pub(super) body: T,
    /// What anything else says.
    pub(super) error: Value,
}

impl<T> Reply<T> {
    /// BigQuery's words for what is wrong.
    fn words(&self) -> String {
        let error = &self.error["error"];
        let said = error["message"].as_str().unwrap_or("it says no more");
        format!(
            "the server answered {} ({}): {said}",
            self.status.as_u16(),
            reason_of(&self.error).unwrap_or("no reason")
        )
    }
}

fn reason_of(body: &Value) -> Option<&str> {
    body["error"]["errors"][0]["reason"].as_str().or_else(|| body["error"]["status"].as_str())
}

/// Reasons after which the same may succeed: <https://cloud.google.com/bigquery/docs/error-messages>.
pub(super) fn passes(reason: &str) -> bool {
    matches!(
        reason,
        "backendError"
            | "internalError"
            | "rateLimitExceeded"
            | "userRateLimitExceeded"
            | "jobBackendError"
            | "jobInternalError"
            | "jobRateLimitExceeded"
            | "tableUnavailable"
    )
}

impl BigQuery {
    async fn bearer(&self) -> Result<Option<String>> {
        Ok(match &self.rights {
            Rights::None => None,
            Rights::Account(tokens) => Some(tokens.token().await?.bearer.clone()),
            Rights::Other(provider) => {
                let token = provider.get_credential().await;
                Some(token.map_err(|e| self.no_token(&e))?.bearer.clone())
            }
        })
    }

    fn no_token(&self, error: &object_store::Error) -> Error {
        let own = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
        match own {
            Some(own) => {
                let (url, message, permanent) = (self.about("token"), own.to_string(), own.is_permanent());
                Error::Database { url, message, permanent }
            }
            None => Error::Request { url: self.about("token"), reason: scrub(&error.to_string(), "") },
        }
    }

    /// Makes a request until it is answered for good. `what` names it in errors.
    pub(super) async fn call(&self, what: &str, request: &(dyn Fn() -> RequestBuilder + Sync)) -> Result<Reply> {
        self.call_for(what, request).await
    }

    /// The same for an answer of this form.
    async fn call_for<T: DeserializeOwned + Default>(
        &self,
        what: &str,
        request: &(dyn Fn() -> RequestBuilder + Sync),
    ) -> Result<Reply<T>> {
        let mut attempts = Attempts::new();
        let mut renewed = false;
        loop {
            let (words, wait) = match self.once(what, request).await? {
                Ok(reply)
                    if reply.status == StatusCode::UNAUTHORIZED
                        && !renewed
                        && matches!(self.rights, Rights::Account(_)) =>
                {
                    // The token that was refused is forgotten; the next is new.
                    renewed = true;
                    continue;
                }
                Ok(reply) => {
                    let limited = reply.status == StatusCode::FORBIDDEN && reason_of(&reply.error).is_some_and(passes);
                    if !limited && !may_pass(reply.status.as_u16()) {
                        return Ok(reply);
                    }
                    (reply.words(), retry_after(&reply.headers))
                }
                Err(words) => (words, None),
            };
            if !attempts.again(wait).await {
                let message = attempts.told(words);
                return Err(Error::Database { url: self.about(what), message, permanent: false });
            }
        }
    }

    /// Once. `Err`: there was no whole answer.
    pub(super) async fn once<T: DeserializeOwned + Default>(
        &self,
        what: &str,
        request: &(dyn Fn() -> RequestBuilder + Sync),
    ) -> Result<Result<Reply<T>, String>> {
        let bearer = self.bearer().await?;
        let request = match &bearer {
            Some(bearer) => request().bearer_auth(bearer),
            None => request(),
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() => {
                return Err(Error::Invalid(format!("{}: {}", self.about(what), reason(error, ""))));
            }
            Err(error) => return Ok(Err(reason(error, ""))),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if let (StatusCode::UNAUTHORIZED, Rights::Account(tokens), Some(bearer)) = (status, &self.rights, &bearer) {
            tokens.forget(bearer).await;
        }
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return Ok(Err(reason(error, ""))),
        };
        let (mut parsed, mut error) = (T::default(), Value::Null);
        if !status.is_success() {
            error = serde_json::from_slice(&body).unwrap_or_default();
        } else if !body.is_empty() {
            match serde_json::from_slice(&body) {
                Ok(body) => parsed = body,
                Err(_) => return Ok(Err("the answer is not the JSON that it should be".into())),
            }
        }
        Ok(Ok(Reply { status, headers, body: parsed, error }))
    }

    /// The same where anything but success is an error.
    pub(super) async fn get<T: DeserializeOwned + Default>(
        &self,
        what: &str,
        request: &(dyn Fn() -> RequestBuilder + Sync),
    ) -> Result<T> {
        let reply = self.call_for(what, request).await?;
        if reply.status.is_success() { Ok(reply.body) } else { Err(self.refused(what, &reply)) }
    }

    pub(super) fn refused<T>(&self, what: &str, reply: &Reply<T>) -> Error {
        Error::Database { url: self.about(what), message: reply.words(), permanent: true }
    }
}

/// A number that BigQuery writes as text, if it is there.
pub(crate) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The waits between two looks at a job: longer the longer it runs.
pub(super) fn next_wait(wait: Duration) -> Duration {
    (wait + wait / 2).min(Duration::from_secs(5))
}
