//! Mails: to a server that takes them, and to such as refuse, come later, hang and die half-way.

use crate::engine::{World, until};
use flow_runtime::core::{Dag, RunStatus};
use flow_runtime::notify::{Channel, Deliverer, Email, MailTls, Subject};
use flow_runtime::prelude::*;
use flow_runtime::store::{CallbackFilter, CallbackRow, CallbackState};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a server does at one connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    /// Takes everything.
    Takes,
    /// Answers with this line to what begins so.
    Answers(&'static str, &'static str),
    /// Says nothing any more once it hears what begins so.
    Hangs(&'static str),
    /// Has taken the mail, and dies before it says so.
    DiesAfterData,
    /// Takes the mail, and says nothing to the goodbye.
    HangsAtTheEnd,
    /// Offers encryption, and then hears what comes.
    OffersTls,
}

/// What servers have heard, line by line; a mail is one line.
type Heard = Arc<Mutex<Vec<String>>>;

/// A server on a free port: it does these, one at each connection; the last at all that follow.
async fn server(does: &'static [Does]) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let (hears, mut number) = (heard.clone(), 0);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, does[number.min(does.len() - 1)], hears.clone()));
            number += 1;
        }
    });
    (port, heard)
}

/// Talks with one who sends. An error ends it: the other has gone.
async fn talk(stream: TcpStream, does: Does, heard: Heard) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let greeting = if let Does::Answers("", line) = does { line } else { "220 mail.example.com" };
    stream.write_all(format!("{greeting}\r\n").as_bytes()).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_string();
        heard.lock().push(line.clone());
        let verb = line.split(' ').next().unwrap_or_default();
        let usual = match verb {
            "EHLO" if does == Does::OffersTls => "250-mail.example.com\r\n250 STARTTLS",
            "EHLO" => "250-mail.example.com\r\n250 AUTH PLAIN LOGIN",
            "AUTH" => "235 welcome",
            "STARTTLS" => "220 go on",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        let answer = match does {
            Does::Hangs(at) if line.starts_with(at) => std::future::pending().await,
            Does::HangsAtTheEnd if verb == "QUIT" => std::future::pending().await,
            Does::Answers(at, answer) if !at.is_empty() && line.starts_with(at) => answer,
            _ => usual,
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        if verb == "STARTTLS" {
            let mut first = [0; 3];
            stream.read_exact(&mut first).await?;
            heard.lock().push(format!("bytes {first:?}"));
            return Ok(());
        }
        if verb == "DATA" && answer.starts_with('3') {
            let mut mail = String::new();
            while !mail.ends_with("\r\n.\r\n") {
                if stream.read_line(&mut mail).await? == 0 {
                    return Ok(());
                }
            }
            heard.lock().push(mail);
            match does {
                Does::DiesAfterData => return Ok(()),
                Does::Answers(".", answer) => stream.write_all(format!("{answer}\r\n").as_bytes()).await?,
                _ => stream.write_all(b"250 taken\r\n").await?,
            }
        }
    }
}

fn mail(port: u16) -> Email {
    Email {
        host: "127.0.0.1".into(),
        port,
        tls: MailTls::None,
        login: None,
        from: "Flow <flow@example.com>".into(),
        to: vec!["Ada <ada@example.com>".into(), "bo@example.com".into()],
        subject: Subject::default(),
        timeout: Duration::from_secs(20),
    }
}

#[task]
fn broken() -> Result<()> {
    bail!("it is brøken\n.\nBcc: eve@example.com")
}

fn dag() -> Dag {
    let built = DagBuilder::new("told").build(|_| {
        broken::node().on_failure([Notifier::named("mail")]);
    });
    built.unwrap()
}

/// A run that has failed, of which this mail is owed.
async fn owed(email: Email) -> World {
    let mut world = World::new().await;
    world.settings.notifiers.insert("mail".into(), Channel::Email(Box::new(email)));
    assert_eq!(world.run(dag(), "mail-run").await.run.state, RunStatus::Failed);
    world
}

async fn row(world: &World) -> CallbackRow {
    world.store.callbacks(CallbackFilter::default()).await.unwrap().remove(0)
}

/// Tells until the row is as it is asked for, and returns it.
async fn told(world: &World, is: impl Fn(&CallbackRow) -> bool) -> CallbackRow {
    let deliverer = Deliverer::start(&world.engine());
    for _ in 0..1500 {
        if is(&row(world).await) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    deliverer.stop().await;
    let row = row(world).await;
    assert!(is(&row), "{row:?}");
    row
}

fn mails(heard: &Heard) -> Vec<String> {
    heard.lock().iter().filter(|line| line.contains("\r\n.\r\n")).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_says_who_what_and_where_to_look() {
    let (port, heard) = server(&[Does::Takes]).await;
    let mut world = owed(mail(port)).await;
    world.settings.called = Some("dags --home '/srv/my flow'".into());
    let row = told(&world, |row| row.state == CallbackState::Success).await;
    assert_eq!(row.attempts, 1);
    let envelope: Vec<String> =
        heard.lock().iter().filter(|l| l.starts_with("MAIL") || l.starts_with("RCPT")).cloned().collect();
    assert_eq!(envelope, ["MAIL FROM:<flow@example.com>", "RCPT TO:<ada@example.com>", "RCPT TO:<bo@example.com>"]);
    let mail = mails(&heard).remove(0);
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let payload: serde_json::Value = serde_json::from_str(&row.callback.payload).unwrap();
    let id = format!("Message-ID: <{}@example.com>", payload["key"].as_str().unwrap());
    for line in [
        "From: Flow <flow@example.com>",
        "To: Ada <ada@example.com>, bo@example.com",
        "Subject: told: broken failed",
        &id,
    ] {
        assert!(head.lines().any(|l| l == line), "{line}: {head}");
    }
    assert!(head.contains("Content-Type: text/plain") && !head.contains("Bcc"), "{head}");
    // Quoted-printable, and the lone dot is doubled on the way.
    for line in ["told: broken failed.", "it is br=C3=B8ken", "..", "Run       mail-run"] {
        assert!(body.lines().any(|l| l == line), "{line}: {body}");
    }
    assert!(body.contains("  dags --home '/srv/my flow' logs mail-run broken --try 1 --dag told"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_and_the_mail_is_the_same_to_the_byte() {
    for first in [
        Does::Answers("", "421 too busy"),
        Does::Answers("RCPT TO:<bo@", "450 greylisted, come again"),
        Does::Answers("DATA", "451 no space"),
        Does::Answers(".", "452 no space"),
        Does::DiesAfterData,
    ] {
        let does: &'static [Does] = Vec::leak(vec![first, Does::Takes]);
        let (port, heard) = server(does).await;
        let world = owed(mail(port)).await;
        let row = told(&world, |row| row.state == CallbackState::Success).await;
        assert_eq!((row.attempts, &row.error), (2, &None), "{first:?}");
        let mails = mails(&heard);
        match first {
            Does::DiesAfterData | Does::Answers(".", _) => {
                assert_eq!(mails.len(), 2, "{first:?}");
                assert_eq!(mails[0], mails[1]);
            }
            _ => assert_eq!(mails.len(), 1, "nobody got it while one was to be tried later: {first:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_for_good_is_not_tried_again() {
    for (does, said) in [
        (Does::Answers("", "554 not from you"), "the server answered 554: not from you"),
        (Does::Answers("MAIL", "550 not from you"), "the server answered 550: not from you"),
        (
            Does::Answers("RCPT", "550 nobody"),
            "ada@example.com, the server answered 550: nobody; bo@example.com, the server answered 550: nobody",
        ),
        (Does::Answers(".", "554 spam"), "the server answered 554: spam"),
    ] {
        let (port, heard) = server(Vec::leak(vec![does])).await;
        let world = owed(mail(port)).await;
        let row = told(&world, |row| row.state == CallbackState::Failed).await;
        assert_eq!((row.attempts, row.error.as_deref()), (1, Some(said)), "{does:?}");
        assert_eq!(mails(&heard).len(), usize::from(matches!(does, Does::Answers(".", _))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_for_good_keeps_it_from_nobody_else() {
    let (port, heard) = server(&[Does::Answers("RCPT TO:<ada@", "550 she has left")]).await;
    let world = owed(mail(port)).await;
    let row = told(&world, |row| row.state == CallbackState::Success).await;
    assert_eq!((row.attempts, mails(&heard).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_left_after_the_timeout_and_one_that_has_the_mail_is_not_waited_for() {
    for at in ["EHLO", "RCPT", "DATA"] {
        let (port, _) = server(Vec::leak(vec![Does::Hangs(at)])).await;
        let world = owed(Email { timeout: Duration::from_millis(300), ..mail(port) }).await;
        let row = told(&world, |row| row.error.is_some()).await;
        assert_eq!(
            (row.state, row.error.as_deref()),
            (CallbackState::Pending, Some("it took longer than 300ms")),
            "{at}"
        );
    }
    let (port, heard) = server(&[Does::HangsAtTheEnd]).await;
    let world = owed(mail(port)).await;
    told(&world, |row| row.state == CallbackState::Success).await;
    until("it is told goodbye", || heard.lock().last().is_some_and(|line| line == "QUIT")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_tried_again() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let world = owed(mail(port)).await;
    let row = told(&world, |row| row.error.is_some()).await;
    assert_eq!(row.state, CallbackState::Pending);
    assert!(row.error.as_deref().unwrap().contains("refused"), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_to_the_server_and_nowhere_else() {
    let login = Some(("flow".to_string(), Secret::new("planted-mail-1".to_string())));
    let (port, heard) = server(&[Does::Answers("AUTH", "535 planted-mail-1 is wrong")]).await;
    let world = owed(Email { login: login.clone(), ..mail(port) }).await;
    let row = told(&world, |row| row.state == CallbackState::Failed).await;
    assert_eq!(row.error.as_deref(), Some("the server answered 535: *** is wrong"));
    // `\0flow\0planted-mail-1` in Base64.
    assert!(heard.lock().contains(&"AUTH PLAIN AGZsb3cAcGxhbnRlZC1tYWlsLTE=".to_string()));
    assert!(!format!("{row:?}").contains("planted-mail-1"));
    assert!(!format!("{:?}", world.settings).contains("planted-mail-1"));

    let (port, heard) = server(&[Does::Takes]).await;
    let world = owed(Email { login, ..mail(port) }).await;
    told(&world, |row| row.state == CallbackState::Success).await;
    assert!(!mails(&heard)[0].contains("planted-mail-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_in_the_open_to_a_server_that_should_encrypt() {
    let login = Some(("flow".to_string(), Secret::new("planted-mail-2".to_string())));
    // One that does not offer it, or from whose offer somebody on the way has taken it out.
    let (port, heard) = server(&[Does::Takes]).await;
    let world = owed(Email { tls: MailTls::StartTls, login: login.clone(), ..mail(port) }).await;
    let row = told(&world, |row| row.error.is_some()).await;
    assert_eq!(row.error.as_deref(), Some("STARTTLS is not supported on this server"));
    assert_eq!(row.state, CallbackState::Pending);
    assert!(heard.lock().iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{heard:?}");
    // One that does hears the beginning of a handshake (22, version 3.x) next.
    let (port, heard) = server(&[Does::OffersTls]).await;
    let world = owed(Email { tls: MailTls::StartTls, login: login.clone(), ..mail(port) }).await;
    told(&world, |row| row.error.is_some()).await;
    assert_eq!(heard.lock()[1..3], ["STARTTLS", "bytes [22, 3, 1]"]);
    // And with `tls` that is the very first thing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = owed(Email { tls: MailTls::Tls, login, ..mail(port) }).await;
    let deliverer = Deliverer::start(&world.engine());
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut first = [0; 3];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [22, 3, 1]);
    deliverer.stop().await;
}
