//! Google on loopback: tokens, Cloud Storage's XML API and BigQuery's jobs, as far as their documents say, with faults by script.
//!
//! What each part does stands beside the address of the document that says so. It is strict: what the documents do not allow
//! is answered 400.

mod account;
mod columns;
pub mod jobs;
mod kept;
mod storage;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flow_data::Lake;

use self::account::Account;
use self::jobs::Jobs;
use self::storage::Storage;
use crate::server::{Reply, Request, Server};

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The answer is this status, and nothing is done.
    Status(u16),
    /// The same, with `Retry-After: 0`.
    Busy(u16),
    /// 403 because of too many requests.
    Limited,
    /// The connection ends before anything is done.
    Reset,
    /// All is done, and the connection ends before the answer.
    Lost,
    /// Every token that was given out has ended.
    Expired,
    /// The answer comes in small pieces.
    Drip,
    /// The answer ends after so many bytes of its body.
    Cut(usize),
    /// Held until [`Google::release`].
    Held,
}

/// Everything there is.
#[derive(Default)]
pub struct Cloud {
    tokens: Vec<String>,
    granted: usize,
    pub storage: Storage,
    pub jobs: Jobs,
    faults: Vec<(String, Fault)>,
    released: bool,
    /// How long every request takes before it is done, and again before it is answered.
    slow: Duration,
}

/// The servers, and a home whose credentials they accept.
pub struct Google {
    pub server: Server,
    cloud: Arc<Mutex<Cloud>>,
    home: tempfile::TempDir,
}

impl Google {
    pub fn start() -> Self {
        let cloud = Arc::new(Mutex::new(Cloud::default()));
        let kept = cloud.clone();
        let server = Server::start(move |request| answer(request, &kept));
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".google/credentials");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("google_credentials.json"), Account::get().json(&server.url)).unwrap();
        Self { server, cloud, home }
    }

    /// The folder that stands for `$HOME`.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A lake that knows nothing but its home.
    pub fn lake(&self) -> Lake {
        Lake::new().with("HOME", self.home().to_str().unwrap())
    }

    pub fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap()
    }

    /// The next request that begins with this (`PUT /lake/f?partNumber=2`, percent signs decoded) has this fault. `*` stands for
    /// anything, and `|` at the end for the end.
    pub fn fault(&self, request: &str, fault: Fault) {
        self.cloud().faults.push((request.to_owned(), fault));
    }

    /// Faults that no request met yet.
    pub fn faults_left(&self) -> usize {
        self.cloud().faults.len()
    }

    /// Lets go of what is held.
    pub fn release(&self) {
        self.cloud().released = true;
    }

    /// Every request takes so long before it is done, and again before it is answered.
    pub fn slow(&self, pause: Duration) {
        self.cloud().slow = pause;
    }

    /// How many tokens were given out.
    pub fn granted(&self) -> usize {
        self.cloud().granted
    }

    /// Requests that begin with this.
    pub fn count(&self, begin: &str) -> usize {
        self.server.requests().iter().filter(|r| named(r).starts_with(begin)).count()
    }

    pub fn object(&self, bucket_and_key: &str) -> Option<Vec<u8>> {
        self.cloud().storage.object(bucket_and_key)
    }
}

/// `PUT /lake/folder/f?partNumber=1`.
fn named(request: &Request) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let query = if query.is_empty() { String::new() } else { format!("?{}", decoded(query)) };
    format!("{} {}{query}", request.method, decoded(path))
}

fn fits(name: &str, pattern: &str) -> bool {
    match (pattern.strip_suffix('|'), pattern.split_once('*')) {
        (Some(whole), _) => name == whole,
        (_, Some((begin, then))) => name.starts_with(begin) && name[begin.len()..].contains(then),
        _ => name.starts_with(pattern),
    }
}

/// Percent signs decoded.
pub fn decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).next().unwrap().1.into_owned()
}

pub fn pairs(query: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn answer(request: &Request, shared: &Mutex<Cloud>) -> Reply {
    let name = named(request);
    let fault = {
        let mut cloud = shared.lock().unwrap();
        let at = cloud.faults.iter().position(|(pattern, _)| fits(&name, pattern));
        at.map(|at| cloud.faults.remove(at).1)
    };
    match fault {
        Some(Fault::Status(status)) => return Reply::new(status, "{}"),
        Some(Fault::Busy(status)) => return Reply::new(status, "{}").with("Retry-After", 0),
        Some(Fault::Limited) => return jobs::refused(403, "rateLimitExceeded", "Exceeded rate limits"),
        Some(Fault::Reset) => return Reply::lost(),
        Some(Fault::Expired) => shared.lock().unwrap().tokens.clear(),
        Some(Fault::Held) => {
            while !shared.lock().unwrap().released {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        _ => {}
    }
    let slow = shared.lock().unwrap().slow;
    std::thread::sleep(slow);
    let mut reply = serve(request, &mut shared.lock().unwrap());
    std::thread::sleep(slow);
    match fault {
        Some(Fault::Lost) => return Reply::lost(),
        Some(Fault::Drip) => reply.drip = Some((1 + reply.body.len() / 20, Duration::from_millis(5))),
        Some(Fault::Cut(after)) => reply.cut_after = Some(after.min(reply.body.len())),
        _ => {}
    }
    reply
}

fn serve(request: &Request, cloud: &mut Cloud) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let (path, query): (_, BTreeMap<_, _>) = (decoded(path), pairs(query).into_iter().collect());
    let base = format!("http://{}", request.header("host").unwrap_or_default());
    if path == "/token" {
        return match Account::get().check(request, &format!("{base}/token")) {
            Ok(()) => {
                cloud.granted += 1;
                let token = format!("ya29.{}", cloud.granted);
                cloud.tokens.push(token.clone());
                Reply::new(
                    200,
                    serde_json::json!({ "access_token": token, "expires_in": 3600, "token_type": "Bearer" })
                        .to_string(),
                )
            }
            // https://www.rfc-editor.org/rfc/rfc6749#section-5.2
            Err(why) => {
                Reply::new(400, serde_json::json!({ "error": "invalid_grant", "error_description": why }).to_string())
            }
        };
    }
    let bearer = request.header("authorization").and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    if !cloud.tokens.iter().any(|token| token == bearer) {
        // https://cloud.google.com/storage/docs/xml-api/reference-status#401_unauthorized
        let error = serde_json::json!({ "error": { "code": 401, "errors": [{ "reason": "authError", "message": "Invalid Credentials" }] } });
        return Reply::new(401, error.to_string()).with("WWW-Authenticate", "Bearer error=\"invalid_token\"");
    }
    match path.strip_prefix("/bigquery/v2/").or_else(|| path.strip_prefix("/upload/bigquery/v2/")) {
        Some(rest) => cloud.jobs.serve(request, rest, path.starts_with("/upload/"), &query, &base, &cloud.storage),
        None => cloud.storage.serve(request, &path, &query),
    }
}
