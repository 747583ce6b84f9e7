//! A web server of threads and a script: what it answers is a function of the request.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// How many requests came before.
    pub number: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where the asked range starts.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// What is answered.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body, whatever the length promised.
    pub cut_after: Option<usize>,
    /// Send the body in pieces of so many bytes, with so long a pause before each.
    pub drip: Option<(usize, Duration)>,
    /// Close the connection instead of answering.
    pub lost: bool,
    /// Name no length: the content ends where the connection does.
    pub endless: bool,
    /// Called when all is sent, before the connection closes.
    pub then: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// No answer at all.
    pub fn lost() -> Self {
        Self { lost: true, ..Self::default() }
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut_after = Some(after);
        self
    }
}

/// A file as a good server gives it: with ranges, tags and conditions.
pub fn file(request: &Request, content: &[u8], tag: &str) -> Reply {
    if request.header("if-none-match") == Some(tag) {
        return Reply::new(304, "").with("ETag", tag);
    }
    let same = request.header("if-range").is_none_or(|asked| asked == tag);
    match request.range_start() {
        Some(start) if same && start < content.len() => Reply::new(206, &content[start..])
            .with("ETag", tag)
            .with("Content-Range", format!("bytes {start}-{}/{}", content.len() - 1, content.len())),
        Some(start) if same => {
            Reply::new(416, "").with("Content-Range", format!("bytes */{}", content.len())).with("X-Start", start)
        }
        _ => Reply::new(200, content).with("ETag", tag).with("Accept-Ranges", "bytes"),
    }
}

/// Serves until the process ends.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || stream.ok().and_then(|stream| serve(stream, &seen, &*answer)));
            }
        });
        Self { url, requests }
    }

    /// A URL on this server.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Keeps no request that came before.
    pub fn forget(&self) {
        self.requests.lock().unwrap().clear();
    }
}

/// One request on one connection.
fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request = {
        let mut seen = seen.lock().unwrap();
        let request = Request { method, target, headers, body, number: seen.len() };
        seen.push(request.clone());
        request
    };
    let reply = answer(&request);
    if reply.lost {
        return None;
    }
    let mut out = stream;
    let mut head = format!("HTTP/1.1 {} Because\r\nConnection: close\r\n", reply.status);
    if !reply.endless && !reply.headers.iter().any(|(name, _)| name == "Content-Length" || name == "Transfer-Encoding")
    {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    out.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if request.method != "HEAD" {
        let body = &reply.body[..reply.cut_after.unwrap_or(reply.body.len())];
        let (size, pause) = reply.drip.unwrap_or((body.len().max(1), Duration::ZERO));
        for piece in body.chunks(size) {
            thread::sleep(pause);
            out.write_all(piece).ok()?;
        }
    }
    out.flush().ok()?;
    if let Some(then) = reply.then {
        then();
    }
    Some(())
}
