//! An object store that speaks what S3 and Google have in common, and Azure's blocks: put, get, and uploads in parts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use crate::server::{Reply, Request, Server};

#[derive(Default)]
struct Shelf {
    objects: HashMap<String, Vec<u8>>,
    /// What was written down with each: `x-amz-meta-..` and the like.
    metadata: HashMap<String, Vec<(String, String)>>,
    /// Parts of uploads that are not complete, by path and number.
    parts: BTreeMap<(String, String), Vec<u8>>,
    largest: usize,
    aborted: usize,
    outdone: Option<Vec<u8>>,
}

/// The store, as a server.
pub struct Store {
    pub server: Server,
    shelf: Arc<Mutex<Shelf>>,
}

impl Store {
    /// A store that answers 403 to the part of this number, if one is given.
    pub fn start(refused_part: Option<&'static str>) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let kept = shelf.clone();
        let server = Server::start(move |request| answer(request, &mut kept.lock().unwrap(), refused_part));
        Self { server, shelf }
    }

    pub fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.shelf.lock().unwrap().objects.get(path).cloned()
    }

    /// Somebody else will complete an object of Azure's or S3's with this content, before the next one that wants to complete it.
    pub fn outdo(&self, content: &[u8]) {
        self.shelf.lock().unwrap().outdone = Some(content.to_owned());
    }

    /// The largest single request body.
    pub fn largest(&self) -> usize {
        self.shelf.lock().unwrap().largest
    }

    pub fn aborted(&self) -> usize {
        self.shelf.lock().unwrap().aborted
    }
}

fn answer(request: &Request, shelf: &mut Shelf, refused_part: Option<&str>) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    // Google's client escapes a key's slashes and dots, the others do not.
    let path = path.replace("%2F", "/").replace("%2E", ".");
    let query: HashMap<_, _> = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    shelf.largest = shelf.largest.max(request.body.len());
    let part = query.get("partNumber").or_else(|| query.get("blockid")).copied();
    let ok = |status| Reply::new(status, "").with("ETag", "\"e\"").with("x-goog-generation", 1);
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html: of a whole object, or of its completion
    let writes =
        part.is_none() && request.method == "PUT" || query.contains_key("uploadId") && request.method == "POST";
    // All others' blocks go with it, and the upload itself in S3.
    let (blocks, upload) = (query.get("comp") == Some(&"blocklist"), query.contains_key("uploadId"));
    if (blocks || upload && request.method == "POST")
        && let Some(content) = shelf.outdone.take()
    {
        shelf.objects.insert(path, content);
        let (status, code) = if blocks { (400, "InvalidBlockList") } else { (404, "NoSuchUpload") };
        return Reply::new(status, format!("<Error><Code>{code}</Code></Error>"));
    }
    if writes && !holds(request, shelf.objects.get(&path)) {
        return Reply::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
    }
    if part.is_none() && (request.method == "PUT" || query.contains_key("uploads")) {
        let kept = request.headers.iter().filter(|(name, _)| name.contains("-meta-"));
        shelf.metadata.insert(path.clone(), kept.map(|(n, v)| (n.clone(), v.clone())).collect());
    }
    match (request.method.as_str(), part) {
        ("PUT", Some(number)) if refused_part == Some(number) => {
            Reply::new(403, "<Error><Code>AccessDenied</Code></Error>")
        }
        ("PUT", Some(number)) => {
            shelf.parts.insert((path, format!("{number:0>20}")), request.body.clone());
            ok(201)
        }
        ("POST", None) if query.contains_key("uploads") => {
            let xml = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
            Reply::new(200, xml)
        }
        ("POST", None) if query.contains_key("uploadId") => {
            join(shelf, &path);
            Reply::new(200, "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>")
                .with("ETag", "\"e\"")
        }
        ("PUT", None) if query.get("comp") == Some(&"blocklist") => {
            // Azure's blocks have names, and the list says their order.
            let list = String::from_utf8_lossy(&request.body).into_owned();
            let names = list.split("<Uncommitted>").skip(1).filter_map(|rest| rest.split("</Uncommitted>").next());
            let names: Vec<_> = names
                .map(|name| {
                    (path.clone(), format!("{:0>20}", name.replace('=', "%3D").replace('+', "%2B").replace('/', "%2F")))
                })
                .collect();
            let whole =
                names.iter().flat_map(|name| shelf.parts.remove(name).expect("a block that was sent")).collect();
            shelf.objects.insert(path, whole);
            ok(201)
        }
        ("DELETE", None) if query.contains_key("uploadId") => {
            shelf.aborted += 1;
            Reply::new(204, "")
        }
        ("PUT", None) => {
            shelf.objects.insert(path, request.body.clone());
            ok(201)
        }
        ("GET" | "HEAD", None) => match shelf.objects.get(&path) {
            Some(body) => shelf.metadata.get(&path).into_iter().flatten().fold(
                Reply::new(200, body.clone())
                    .with("ETag", tag(body))
                    .with("Last-Modified", "Fri, 01 Jan 2021 00:00:00 GMT"),
                |reply, (name, value)| reply.with(name, value),
            ),
            None => Reply::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
        },
        _ => Reply::new(400, format!("{} {}", request.method, request.target)),
    }
}

fn tag(content: &[u8]) -> String {
    let sum = content.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("\"{sum:x}\"")
}

fn holds(request: &Request, there: Option<&Vec<u8>>) -> bool {
    match (request.header("if-none-match"), request.header("if-match"), there) {
        (Some("*"), _, there) => there.is_none(),
        (_, Some(wanted), there) => there.is_some_and(|content| tag(content) == wanted),
        _ => true,
    }
}

fn join(shelf: &mut Shelf, path: &str) {
    let keys: Vec<_> = shelf.parts.keys().filter(|(p, _)| p == path).cloned().collect();
    let whole = keys.iter().flat_map(|key| shelf.parts.remove(key).unwrap()).collect();
    shelf.objects.insert(path.to_owned(), whole);
}
