//! Telling by mail.

use super::{Email, MailTls, Untold, mail_text};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use lettre::Message;
use lettre::address::Address;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use serde_json::{Map, Value};

/// Most characters of an answer that are kept.
const SHOWN: usize = 200;

/// An address, with or without a name before it.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, String> {
    let mailbox: Mailbox = text.parse().map_err(|e: lettre::address::AddressError| e.to_string())?;
    if mailbox.email.user().is_ascii() {
        Ok(mailbox)
    } else {
        Err("not every server takes letters beyond ASCII".into())
    }
}

/// Sends a mail, and waits until the server has taken it.
///
/// Recipients that it refuses for good are left out, and named in the log; if it wants one to be tried later, nobody gets the
/// mail before then: so nobody gets it twice.
/// `program` is how this program is called.
pub(super) async fn send(email: &Email, payload: &Map<String, Value>, program: &str) -> Result<(), Untold> {
    let message = message(email, payload, program)?;
    let mut server = connect(email).await.map_err(|e| untold(&e))?;
    let sent = hand_over(&mut server, email, &message).await;
    // Said, and not waited for: the mail is with the server, or it is not, whatever it answers to this.
    let _ = server.quit().now_or_never();
    let refused = sent?;
    if !refused.is_empty() {
        tracing::warn!(target: "flow::notify", "a mail went to some alone, for these were refused: {}", refused.join("; "));
    }
    Ok(())
}

/// The mail. All of it follows from what is told: sent once more, it is the same, and known again by its `Message-ID`.
fn message(email: &Email, payload: &Map<String, Value>, program: &str) -> Result<Message, Untold> {
    let never = |why: String| Untold { why, is_final: true };
    let from = mailbox(&email.from).map_err(|why| never(format!("`{}` is no mail address: {why}", email.from)))?;
    let key = payload.get("key").and_then(Value::as_str).unwrap_or_default();
    let id = format!("<{key}@{}>", from.email.domain());
    let at = payload.get("timestamp").and_then(Value::as_str).and_then(|text| text.parse::<DateTime<Utc>>().ok());
    let mut message = Message::builder()
        .message_id(Some(id))
        .date(at.unwrap_or(DateTime::UNIX_EPOCH).into())
        .from(from)
        .subject(mail_text::subject(&email.subject, payload))
        .header(ContentType::TEXT_PLAIN);
    for to in &email.to {
        message = message.to(mailbox(to).map_err(|why| never(format!("`{to}` is no mail address: {why}")))?);
    }
    message.body(mail_text::body(payload, program)).map_err(|e| never(format!("no mail could be made: {e}")))
}

async fn connect(email: &Email) -> Result<AsyncSmtpConnection, Error> {
    let tls = match email.tls {
        MailTls::None => None,
        MailTls::StartTls | MailTls::Tls => Some(TlsParameters::new_rustls(email.host.clone())?),
    };
    let (at_once, after_greeting) = if email.tls == MailTls::Tls { (tls, None) } else { (None, tls) };
    let (hello, address) = (ClientId::default(), (email.host.as_str(), email.port));
    let mut server = AsyncSmtpConnection::connect_tokio1(address, None, &hello, at_once, None).await?;
    if let Some(tls) = after_greeting {
        server.starttls(tls, &hello).await?;
    }
    if let Some((user, password)) = &email.login {
        let login = Credentials::new(user.clone(), password.expose().clone());
        server.auth(DEFAULT_MECHANISMS, &login).await?;
    }
    Ok(server)
}

/// Gives it to the server; says whom that has refused.
async fn hand_over(server: &mut AsyncSmtpConnection, email: &Email, message: &Message) -> Result<Vec<String>, Untold> {
    let envelope = message.envelope();
    let mail = Mail::new(envelope.from().cloned(), Vec::new());
    server.command(mail).await.map_err(|e| untold(&e))?;
    let mut refused = Vec::new();
    for to in envelope.to() {
        match server.command(Rcpt::new(Address::clone(to), Vec::new())).await {
            Ok(_) => {}
            Err(error) if error.is_permanent() => refused.push(format!("{to}, {}", reason(&error))),
            Err(error) => return Err(Untold { why: format!("{to}: {}", reason(&error)), is_final: false }),
        }
    }
    if refused.len() == email.to.len() {
        return Err(Untold { why: refused.join("; "), is_final: true });
    }
    server.command(Data).await.map_err(|e| untold(&e))?;
    server.message(&message.formatted()).await.map_err(|e| untold(&e))?;
    Ok(refused)
}

/// What a server refuses for good (5xx) is not tried again; everything else may pass.
fn untold(error: &Error) -> Untold {
    Untold { why: reason(error), is_final: error.is_permanent() }
}

/// What went wrong, down to its cause.
fn reason(error: &Error) -> String {
    let mut words = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(SHOWN).collect();
    match error.status() {
        Some(code) => format!("the server answered {code}: {words}"),
        None if words.is_empty() => error.to_string(),
        None => words,
    }
}
