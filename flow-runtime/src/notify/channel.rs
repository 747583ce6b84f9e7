//! How somebody is told, with all that is needed for it.

use super::{Email, TIMEOUT, Untold, sentence};
use crate::secret;
use flow_core::Notifier;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How somebody is told, with all that is needed for it: what a name in `[notifiers]` of flow.toml stands for.
#[derive(Clone, PartialEq, Eq)]
pub enum Channel {
    /// A line in the log of the engine: an error for a failure or a missed deadline, else a warning.
    Log,
    /// A program that gets the payload as JSON on its standard input. It has told it when it ends with 0.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Longest time that it may take; then it is killed, with all of its process group.
        timeout: Duration,
    },
    /// A POST of the payload as JSON. It is told when the answer is 2xx.
    Webhook {
        /// Where to.
        url: String,
        /// Further headers.
        headers: BTreeMap<String, String>,
        /// Longest time that it may take.
        timeout: Duration,
    },
    /// A POST of `{"text": ".."}`, as Slack, Mattermost and their like take it.
    Slack {
        /// Where to; whoever knows it may write there, so it is a secret.
        url: String,
        /// Longest time that it may take.
        timeout: Duration,
    },
    /// A mail. It is told when the server has taken it.
    Email(Box<Email>),
}

impl Channel {
    /// How this one is told; `named` are those that have a name.
    ///
    /// # Errors
    /// A sentence: there is none of that name, or this program cannot tell in that way.
    pub fn of(notifier: &Notifier, named: &BTreeMap<String, Channel>) -> Result<Channel, String> {
        let channel = match notifier {
            Notifier::Log => Channel::Log,
            Notifier::Named(name) => named.get(name).cloned().ok_or_else(|| {
                let known = named.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "it names none".into() } else { format!("there are: {known}") };
                format!("`[notifiers]` of flow.toml has no `{name}`; {known}")
            })?,
            Notifier::Webhook(url) => Channel::Webhook { url: url.clone(), headers: BTreeMap::new(), timeout: TIMEOUT },
            Notifier::Command(argv) => Channel::Command { argv: argv.clone(), timeout: TIMEOUT },
        };
        match &channel {
            Channel::Webhook { .. } | Channel::Slack { .. } if cfg!(not(feature = "notify")) => Err(
                "this program was built without the feature `notify` of flow-runtime, so it can tell nobody by HTTP"
                    .into(),
            ),
            Channel::Email(_) if cfg!(not(feature = "email")) => {
                Err("this program was built without the feature `email` of flow-runtime, so it sends no mail".into())
            }
            Channel::Command { .. } if cfg!(not(unix)) => Err("commands can be told on Unix alone".into()),
            _ => Ok(channel),
        }
    }

    /// Longest time that it may take.
    pub fn timeout(&self) -> Duration {
        match self {
            Channel::Log => TIMEOUT,
            Channel::Command { timeout, .. } | Channel::Webhook { timeout, .. } | Channel::Slack { timeout, .. } => {
                *timeout
            }
            Channel::Email(email) => email.timeout,
        }
    }

    /// Puts what is secret about it on the list of texts that nobody may print.
    pub(crate) fn conceal(&self) {
        let conceal = |text: &str| secret::conceal(&Value::String(text.into()));
        match self {
            Channel::Log => {}
            Channel::Command { argv, .. } => argv.iter().for_each(|arg| {
                secret::conceal_passwords(&Value::String(arg.clone()));
            }),
            Channel::Webhook { url, headers, .. } => {
                // `Bearer token` is as secret in two words as in the second alone.
                headers
                    .values()
                    .flat_map(|value| [Some(value.as_str()), value.split_whitespace().last()])
                    .flatten()
                    .for_each(conceal);
                // The address itself may be one that tasks work with.
                secret::conceal_passwords(&Value::String(url.clone()));
            }
            Channel::Slack { url, .. } => conceal(url),
            Channel::Email(email) => email.login.iter().for_each(|(_, password)| conceal(password.expose())),
        }
    }

    /// Tells it, within its timeout; `program` is how this program is called. An error is a sentence without a secret.
    pub(super) async fn tell(&self, payload: &Map<String, Value>, program: &str) -> Result<(), Untold> {
        let timeout = self.timeout();
        let told = tokio::time::timeout(timeout, self.try_to_tell(payload, program)).await;
        let too_long = || format!("it took longer than {}", flow_core::parse::human(timeout));
        let told = told.unwrap_or_else(|_| Err(too_long().into()));
        // No database takes a NUL, which a program may well write.
        told.map_err(|untold| Untold { why: secret::redact(&untold.why).replace('\0', ""), ..untold })
    }

    async fn try_to_tell(&self, payload: &Map<String, Value>, program: &str) -> Result<(), Untold> {
        let told: Result<(), String> = match self {
            Channel::Log => {
                let line = sentence(payload);
                match payload.get("event").and_then(Value::as_str) {
                    Some("failure" | "deadline") => tracing::error!(target: "flow::notify", "{line}"),
                    _ => tracing::warn!(target: "flow::notify", "{line}"),
                }
                Ok(())
            }
            #[cfg(unix)]
            Channel::Command { argv, .. } => super::command::run(argv, payload).await,
            #[cfg(not(unix))]
            Channel::Command { .. } => Err("commands can be told on Unix alone".into()),
            #[cfg(feature = "notify")]
            Channel::Webhook { url, headers, .. } => super::http::post(url, headers, payload, payload).await,
            #[cfg(feature = "notify")]
            Channel::Slack { url, .. } => {
                // The three characters that mean something to Slack.
                let text = sentence(payload).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                let body = Map::from_iter([("text".to_string(), Value::String(text))]);
                super::http::post(url, &BTreeMap::new(), payload, &body).await
            }
            #[cfg(not(feature = "notify"))]
            Channel::Webhook { .. } | Channel::Slack { .. } => Err("this program was built without HTTP".into()),
            #[cfg(feature = "email")]
            Channel::Email(email) => return super::smtp::send(email, payload, program).await,
            #[cfg(not(feature = "email"))]
            Channel::Email(_) => {
                let _ = program;
                Err("this program was built without mail".into())
            }
        };
        told.map_err(Untold::from)
    }
}

/// Without what may be secret.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::Log => "Channel::Log",
            Channel::Command { .. } => "Channel::Command",
            Channel::Webhook { .. } => "Channel::Webhook",
            Channel::Slack { .. } => "Channel::Slack",
            Channel::Email(_) => "Channel::Email",
        })
    }
}
