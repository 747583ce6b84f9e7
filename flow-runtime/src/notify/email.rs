//! A mail: where it goes.

use super::Subject;
use crate::secret::Secret;
use std::time::Duration;

/// A mail server, and whom it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the way there is encrypted.
    pub tls: MailTls,
    /// User and password, if the server wants to know who sends.
    pub login: Option<(String, Secret<String>)>,
    /// Who sends: `flow@example.com`, `Flow <flow@example.com>`.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// Its subject.
    pub subject: Subject,
    /// Longest time that it may take.
    pub timeout: Duration,
}

/// How the way to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailTls {
    /// After a greeting in the open (port 587); a server that does not offer it gets nothing.
    #[default]
    StartTls,
    /// From the first byte on (port 465).
    Tls,
    /// Not at all (port 25).
    None,
}

impl MailTls {
    /// The one of this name: `starttls`, `tls`, `none`.
    pub fn from_name(name: &str) -> Option<MailTls> {
        match name {
            "starttls" => Some(MailTls::StartTls),
            "tls" => Some(MailTls::Tls),
            "none" => Some(MailTls::None),
            _ => None,
        }
    }

    /// The port that servers have for it.
    pub fn port(self) -> u16 {
        match self {
            MailTls::StartTls => 587,
            MailTls::Tls => 465,
            MailTls::None => 25,
        }
    }
}

impl Email {
    /// Can it be meant?
    ///
    /// # Errors
    /// A sentence: an address that is none, nobody to tell, a password that would be sent in the open.
    pub fn check(&self) -> Result<(), String> {
        if self.host.is_empty() || self.host.contains(|c: char| c.is_whitespace() || "/@".contains(c)) {
            return Err("`host` must be the name of a mail server, like `smtp.example.com`".into());
        }
        if self.to.is_empty() {
            return Err("`to` names nobody".into());
        }
        let (from, to) = (("from", &self.from), self.to.iter().map(|to| ("to", to)));
        for (key, address) in std::iter::once(from).chain(to) {
            check_address(address).map_err(|why| format!("`{key}`: `{address}` is no mail address: {why}"))?;
        }
        let is_here = matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if self.tls == MailTls::None && self.login.is_some() && !is_here {
            return Err(
                "`tls = \"none\"` would send the password in the open: use `starttls` or `tls`, or leave `user` out"
                    .into(),
            );
        }
        Ok(())
    }
}

#[cfg(feature = "email")]
fn check_address(text: &str) -> Result<(), String> {
    super::smtp::mailbox(text).map(drop)
}

#[cfg(not(feature = "email"))]
fn check_address(text: &str) -> Result<(), String> {
    if text.contains('@') { Ok(()) } else { Err("it has no `@`".into()) }
}
