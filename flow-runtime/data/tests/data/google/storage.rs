//! Cloud Storage's XML API: <https://cloud.google.com/storage/docs/xml-api/reference-methods>.

use std::collections::BTreeMap;

use crate::server::{Reply, Request};

/// All parts but the last have at least so many bytes: <https://cloud.google.com/storage/quotas#requests>.
const LEAST_PART: usize = 5 << 20;
/// Pages are short so that lists have several.
const PAGE: usize = 2;

#[derive(Clone)]
struct Stored {
    content: Vec<u8>,
    generation: u64,
    modified: String,
    /// `x-goog-meta-..` and the content type.
    headers: BTreeMap<String, String>,
}

struct Upload {
    path: String,
    headers: BTreeMap<String, String>,
    initiated: String,
    parts: BTreeMap<u32, Vec<u8>>,
}

#[derive(Default)]
pub struct Storage {
    /// By `bucket/key`.
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    clock: u64,
    /// A folder in which every object is a file, too.
    pub mirror: Option<std::path::PathBuf>,
    pub aborted: usize,
}

impl Storage {
    pub fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.objects.get(path).map(|stored| stored.content.clone())
    }

    pub fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.keep(path.to_owned(), content.into(), BTreeMap::new());
    }

    pub fn paths(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    /// Uploads that are neither complete nor aborted.
    pub fn unfinished(&self) -> usize {
        self.uploads.len()
    }

    /// How many parts each of them has.
    pub fn part_counts(&self) -> Vec<usize> {
        self.uploads.values().map(|upload| upload.parts.len()).collect()
    }

    fn keep(&mut self, path: String, content: Vec<u8>, headers: BTreeMap<String, String>) -> Reply {
        self.clock += 1;
        let modified = chrono::Utc::now().to_rfc2822().replace("+0000", "GMT");
        let stored = Stored { content, generation: self.clock, modified, headers };
        let reply = described(&stored, Reply::new(200, ""));
        if let Some(mirror) = &self.mirror {
            let file = mirror.join(&path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, &stored.content).unwrap();
        }
        self.objects.insert(path, stored);
        reply
    }

    pub fn serve(&mut self, request: &Request, path: &str, query: &BTreeMap<String, String>) -> Reply {
        let path = path.trim_start_matches('/').to_owned();
        let is_bucket = !path.contains('/');
        let part = query.get("partNumber").and_then(|n| n.parse().ok());
        let upload = query.get("uploadId");
        let source = request.header("x-goog-copy-source");
        match (request.method.as_str(), upload, part) {
            ("GET", None, None) if is_bucket && query.contains_key("uploads") => self.list_uploads(&path, query),
            ("GET", None, None) if is_bucket => self.list(&path, query),
            ("PUT", None, None) if source.is_some() => self.copy(request, path, source.unwrap_or_default()),
            ("PUT", None, None) => self.put_object(request, path),
            ("GET" | "HEAD", None, None) => self.get(request, &path, query),
            // https://cloud.google.com/storage/docs/xml-api/delete-object
            ("DELETE", None, None) => match self.objects.remove(&path) {
                Some(_) => Reply::new(204, ""),
                None => error(404, "NoSuchKey"),
            },
            ("POST", None, None) if query.contains_key("uploads") => self.begin(request, path),
            ("PUT", Some(id), Some(number)) => self.part(request, &path, id, number),
            ("POST", Some(id), None) => self.complete(request, &path, id),
            // https://cloud.google.com/storage/docs/xml-api/delete-multipart
            ("DELETE", Some(id), None) => match self.uploads.remove(id) {
                Some(_) => {
                    self.aborted += 1;
                    Reply::new(204, "")
                }
                None => error(404, "NoSuchUpload"),
            },
            _ => error(400, &format!("{} {}", request.method, request.target)),
        }
    }

    /// <https://cloud.google.com/storage/docs/xml-api/reference-headers#xgoogifgenerationmatch>: 0 means that there is none.
    fn refused(&self, request: &Request, path: &str) -> Option<Reply> {
        let wanted: u64 = request.header("x-goog-if-generation-match")?.parse().ok()?;
        let there = self.objects.get(path).map_or(0, |stored| stored.generation);
        (wanted != there).then(|| error(412, "PreconditionFailed"))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/put-object-upload>
    fn put_object(&mut self, request: &Request, path: String) -> Reply {
        if let Some(refused) = self.refused(request, &path) {
            return refused;
        }
        self.keep(path, request.body.clone(), kept_headers(request))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/put-object-copy>: metadata is copied, too.
    fn copy(&mut self, request: &Request, path: String, source: &str) -> Reply {
        if let Some(refused) = self.refused(request, &path) {
            return refused;
        }
        let Some(from) = self.objects.get(super::decoded(source).trim_start_matches('/')).cloned() else {
            return error(404, "NoSuchKey");
        };
        let mut reply = self.keep(path, from.content, from.headers);
        reply.body = b"<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>".to_vec();
        reply
    }

    /// <https://cloud.google.com/storage/docs/xml-api/get-object-download>
    fn get(&self, request: &Request, path: &str, query: &BTreeMap<String, String>) -> Reply {
        let Some(stored) = self.objects.get(path) else {
            return error(404, "NoSuchKey");
        };
        if query.get("generation").is_some_and(|wanted| *wanted != stored.generation.to_string()) {
            return error(404, "NoSuchKey");
        }
        if request.header("if-match").is_some_and(|wanted| wanted != tag(stored)) {
            return error(412, "PreconditionFailed");
        }
        let all = stored.content.len();
        let range = request.header("range").and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
        let Some((from, to)) = range else {
            return described(stored, Reply::new(200, stored.content.clone()));
        };
        let from: usize = from.parse().unwrap();
        let to = to.parse::<usize>().map_or(all, |to| (to + 1).min(all));
        if from >= all {
            return error(416, "InvalidRange");
        }
        let reply = Reply::new(206, &stored.content[from..to]);
        described(stored, reply).with("Content-Range", format!("bytes {from}-{}/{all}", to - 1))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/get-bucket-list>, version 2.
    fn list(&self, bucket: &str, query: &BTreeMap<String, String>) -> Reply {
        let prefix = format!("{bucket}/{}", query.get("prefix").map_or("", String::as_str));
        let after = query.get("continuation-token").map_or("", String::as_str);
        let mut found = self.objects.iter().filter(|(path, _)| path.starts_with(&prefix) && path.as_str() > after);
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let mut xml = format!("<ListBucketResult><Name>{bucket}</Name><IsTruncated>");
        match (page.last(), found.next()) {
            (Some((last, _)), Some(_)) => {
                xml.push_str(&format!("true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"));
            }
            _ => xml.push_str("false</IsTruncated>"),
        }
        for (path, stored) in page {
            let key = path.split_once('/').unwrap().1.replace('&', "&amp;");
            let modified = chrono::DateTime::parse_from_rfc2822(&stored.modified).unwrap().to_utc();
            xml.push_str(&format!(
                "<Contents><Key>{key}</Key><Generation>{}</Generation><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                stored.generation,
                modified.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
                tag(stored),
                stored.content.len(),
            ));
        }
        Reply::new(200, format!("{xml}</ListBucketResult>"))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/get-bucket-uploads>
    fn list_uploads(&self, bucket: &str, query: &BTreeMap<String, String>) -> Reply {
        let prefix = format!("{bucket}/{}", query.get("prefix").map_or("", String::as_str));
        let after = query.get("upload-id-marker").map_or("", String::as_str);
        let mut found =
            self.uploads.iter().filter(|(id, upload)| upload.path.starts_with(&prefix) && id.as_str() > after);
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let mut xml = format!("<ListMultipartUploadsResult><Bucket>{bucket}</Bucket>");
        if let (Some((id, upload)), Some(_)) = (page.last(), found.next()) {
            let key = upload.path.split_once('/').unwrap().1;
            xml.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>"
            ));
        } else {
            xml.push_str("<IsTruncated>false</IsTruncated>");
        }
        for (id, upload) in page {
            xml.push_str(&format!(
                "<Upload><Key>{}</Key><UploadId>{id}</UploadId><StorageClass>STANDARD</StorageClass><Initiated>{}</Initiated></Upload>",
                upload.path.split_once('/').unwrap().1,
                upload.initiated,
            ));
        }
        Reply::new(200, format!("{xml}</ListMultipartUploadsResult>"))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/post-object-multipart>. Preconditions are not supported:
    /// <https://cloud.google.com/storage/docs/multipart-uploads#considerations>.
    fn begin(&mut self, request: &Request, path: String) -> Reply {
        if request.headers.keys().any(|name| name.starts_with("x-goog-if-")) {
            return error(400, "InvalidArgument");
        }
        self.clock += 1;
        let id = format!("upload-{:09}", self.clock);
        let (bucket, key) = path.split_once('/').unwrap();
        let xml = format!(
            "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        );
        let initiated = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let upload = Upload { path, headers: kept_headers(request), initiated, parts: BTreeMap::new() };
        self.uploads.insert(id, upload);
        Reply::new(200, xml)
    }

    /// <https://cloud.google.com/storage/docs/xml-api/put-object-multipart>
    fn part(&mut self, request: &Request, path: &str, id: &str, number: u32) -> Reply {
        let Some(upload) = self.uploads.get_mut(id).filter(|upload| upload.path == path) else {
            return error(404, "NoSuchUpload");
        };
        if !(1..=10_000).contains(&number) {
            return error(400, "InvalidArgument");
        }
        upload.parts.insert(number, request.body.clone());
        Reply::new(200, "").with("ETag", part_tag(number, request.body.len()))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/post-object-complete>
    fn complete(&mut self, request: &Request, path: &str, id: &str) -> Reply {
        if request.headers.keys().any(|name| name.starts_with("x-goog-if-")) {
            return error(400, "InvalidArgument");
        }
        let Some(upload) = self.uploads.get(id).filter(|upload| upload.path == path) else {
            return error(404, "NoSuchUpload");
        };
        let body = String::from_utf8_lossy(&request.body).replace("&quot;", "\"");
        let all = |name: &str| -> Vec<String> {
            let open = format!("<{name}>");
            let rest = body.split(open.as_str()).skip(1);
            rest.map(|rest| rest.split("</").next().unwrap().to_owned()).collect()
        };
        let (numbers, tags) = (all("PartNumber"), all("ETag"));
        let mut content = Vec::new();
        let mut last = 0;
        for (n, (number, given)) in numbers.iter().zip(&tags).enumerate() {
            let number: u32 = number.parse().unwrap();
            let Some(part) = upload.parts.get(&number).filter(|part| part_tag(number, part.len()) == *given) else {
                return error(400, "InvalidPart");
            };
            if number <= last {
                return error(400, "InvalidPartOrder");
            }
            if part.len() < LEAST_PART && n + 1 < numbers.len() {
                return error(400, "EntityTooSmall");
            }
            last = number;
            content.extend_from_slice(part);
        }
        if numbers.is_empty() || numbers.len() != tags.len() {
            return error(400, "MalformedCompleteMultipartUploadRequest");
        }
        let upload = self.uploads.remove(id).unwrap();
        let mut reply = self.keep(upload.path, content, upload.headers);
        reply.body = b"<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>".to_vec();
        reply
    }
}

fn kept_headers(request: &Request) -> BTreeMap<String, String> {
    let kept = request.headers.iter().filter(|(name, _)| name.starts_with("x-goog-meta-"));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn tag(stored: &Stored) -> String {
    format!("\"g{}\"", stored.generation)
}

fn part_tag(number: u32, length: usize) -> String {
    format!("\"part-{number}-{length}\"")
}

fn described(stored: &Stored, reply: Reply) -> Reply {
    let reply = stored.headers.iter().fold(reply, |reply, (name, value)| reply.with(name, value));
    reply.with("ETag", tag(stored)).with("x-goog-generation", stored.generation).with("Last-Modified", &stored.modified)
}

/// <https://cloud.google.com/storage/docs/xml-api/reference-status>
fn error(status: u16, code: &str) -> Reply {
    Reply::new(status, format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"))
}
