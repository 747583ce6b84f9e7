//! Downloads by HTTP that survive broken connections.

use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LAST_MODIFIED, RANGE, TRANSFER_ENCODING,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Version};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::origin::Origin;
use super::{Download, DownloadOptions, finish, reused};
use crate::files::{Part, with_suffix};
use crate::http::{client, reason};
use crate::pace::Pace;
use crate::redact::redact;
use crate::retry::{Attempts, retry_after};
use crate::{Error, Progress, Result};

/// How many connections one call makes at most, however much each brings.
const MAX_CONNECTIONS: u32 = 500;
/// How much is gathered before it is written.
const WRITE_BYTES: usize = 256 << 10;

/// What a server says that tells this content from another; `None` if it says nothing like that.
pub(super) async fn version(url: Url) -> Option<String> {
    let response = client().ok()?.head(url).header(ACCEPT_ENCODING, "identity").send().await.ok()?;
    let of = |name| text_of(response.headers(), name);
    let (tag, date) = (of(ETAG), of(LAST_MODIFIED));
    if !response.status().is_success() || (tag.is_none() && date.is_none()) {
        return None;
    }
    let parts = [tag, date, of(CONTENT_LENGTH)];
    Some(parts.map(Option::unwrap_or_default).join(" "))
}

/// Why one attempt ended.
enum Broken {
    /// Trying again cannot help, or nobody should.
    For(Error),
    /// It may: with the cause, and how long the server asks to wait.
    Maybe(String, Option<Duration>),
    /// It may; hardly anything came.
    Slow(String),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

struct Transfer<'a> {
    client: Client,
    url: &'a Url,
    text: &'a str,
    part: Part,
    origin: Origin,
    /// How much of `origin` is in the part file.
    offset: u64,
    options: &'a DownloadOptions,
    progress: &'a dyn Progress,
    /// It was said that this server names no length.
    warned: bool,
}

pub(super) async fn download(
    url: &Url,
    text: &str,
    path: &Path,
    options: &DownloadOptions,
    progress: &dyn Progress,
) -> Result<Download> {
    let client = client()?;
    let part = Part::resume(path).await?;
    let finished = Origin::of_finished(path, text).filter(|origin| options.accepts(origin));
    let origin = Origin::read(&with_suffix(part.path(), ".json"), text);
    let length = part.file.metadata().map_err(Error::io(part.path()))?.len();
    let offset =
        if origin.as_ref().is_some_and(|o| o.validator().is_some() && o.total.is_none_or(|total| length <= total)) {
            length
        } else {
            0
        };
    let mut transfer = Transfer {
        client,
        url,
        text,
        part,
        origin: origin.unwrap_or_else(|| Origin::new(text)),
        offset,
        options,
        progress,
        warned: false,
    };
    let whole = transfer.run(finished.as_ref()).await?;
    let Transfer { part, origin, .. } = transfer;
    let part_origin = with_suffix(part.path(), ".json");
    let done = if whole {
        finish(part, path, text, origin, options).await?
    } else {
        part.discard();
        reused(path, text, &finished.unwrap_or_default(), progress)
    };
    // Tells of a part file that is no more; a later call takes it for nothing.
    let _ = std::fs::remove_file(part_origin);
    Ok(done)
}

impl Transfer<'_> {
    /// Attempts until all is there: true. False: the finished file is still right.
    async fn run(&mut self, finished: Option<&Origin>) -> Result<bool> {
        let mut attempts = Attempts::new();
        let mut best = self.offset;
        for _ in 0..MAX_CONNECTIONS {
            let (cause, wait, enough) = match self.attempt(finished).await {
                Ok(whole) => return Ok(whole),
                Err(Broken::For(error)) => return Err(error),
                Err(Broken::Maybe(cause, wait)) => (cause, wait, 1),
                Err(Broken::Slow(cause)) => (cause, None, self.options.least_bytes),
            };
            if self.offset >= best + enough {
                attempts.progressed();
            }
            best = best.max(self.offset);
            if !attempts.again(wait).await {
                return Err(self.given_up(attempts.told(cause), attempts.made()));
            }
        }
        Err(self.given_up("too many connections were needed".into(), MAX_CONNECTIONS))
    }

    fn given_up(&self, reason: String, attempts: u32) -> Error {
        Error::Transfer { url: redact(self.text), reason, attempts }
    }

    fn request(&self, request: RequestBuilder) -> RequestBuilder {
        // The bytes as they are: a range of a compressed answer means something else.
        request.header(ACCEPT_ENCODING, "identity")
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Broken> {
        request.send().await.map_err(|e| self.broken(e))
    }

    fn broken(&self, error: reqwest::Error) -> Broken {
        if error.is_builder() || error.is_redirect() {
            return Broken::For(Error::Invalid(format!("`{}`: {}", redact(self.text), reason(error, self.text))));
        }
        Broken::Maybe(reason(error, self.text), None)
    }

    /// One connection. True: the part file is whole. False: the finished file is still right.
    async fn attempt(&mut self, finished: Option<&Origin>) -> Result<bool, Broken> {
        let mut request = self.request(self.client.get(self.url.clone()));
        // What "304 Not Modified" would mean.
        let mut unchanged = None;
        if self.offset > 0 && self.origin.validator().is_none() {
            // Nothing vouches for the rest being of the same content.
            self.start_over(Origin::new(self.text))?;
        }
        if let (1.., Some(validator)) = (self.offset, self.origin.validator()) {
            if self.origin.total == Some(self.offset) {
                // An earlier call ended between the last byte and the new name.
                request = unless_same(request, &self.origin);
                unchanged = Some(true);
            } else {
                request = request.header(RANGE, format!("bytes={}-", self.offset)).header(IF_RANGE, validator);
            }
        } else if let Some(finished) = finished {
            if finished.etag.is_some() || finished.last_modified.is_some() {
                request = unless_same(request, finished);
                unchanged = Some(false);
            } else if self.has_length_of(finished).await? {
                return Ok(false);
            }
        }
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED if unchanged.is_some() => Ok(unchanged == Some(true)),
            StatusCode::PARTIAL_CONTENT if self.continues(&response) => self.receive(response).await,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if self.offset > 0 => {
                self.start_over(Origin::new(self.text))?;
                Err(Broken::Maybe("the content changed on the server".into(), Some(Duration::ZERO)))
            }
            StatusCode::OK => {
                self.warn_of_no_end(&response);
                let headers = response.headers();
                self.start_over(Origin {
                    etag: text_of(headers, ETAG),
                    last_modified: text_of(headers, LAST_MODIFIED),
                    total: text_of(headers, CONTENT_LENGTH).and_then(|n| n.parse().ok()),
                    ..Origin::new(self.text)
                })?;
                self.receive(response).await
            }
            status => Err(self.refused(status, response.headers())),
        }
    }

    /// Whether all has arrived nobody can tell where the end of the connection is all that ends the content.
    fn warn_of_no_end(&mut self, response: &Response) {
        if !has_end(response.version(), response.headers()) && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "{}: the server names no length and ends the content by closing the connection; if that breaks, a file that \
                 is cut short looks like a whole one: state its SHA-256 if it is known",
                redact(self.text)
            );
        }
    }

    /// For servers that name no validator: is the length still that of the finished file?
    async fn has_length_of(&self, finished: &Origin) -> Result<bool, Broken> {
        let response = self.send(self.request(self.client.head(self.url.clone()))).await?;
        let length = text_of(response.headers(), CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok());
        Ok(response.status().is_success() && length.is_some() && length == finished.total)
    }

    /// Does this answer carry on exactly where the part file ends, with the same content?
    fn continues(&self, response: &Response) -> bool {
        let range = text_of(response.headers(), CONTENT_RANGE).unwrap_or_default();
        let Some((span, total)) = range.strip_prefix("bytes ").and_then(|r| r.split_once('/')) else {
            return false;
        };
        let starts_here = span.split_once('-').is_some_and(|(start, _)| start.trim().parse() == Ok(self.offset));
        let total_fits = match (total.trim().parse::<u64>().ok(), self.origin.total) {
            (Some(now), Some(then)) => now == then,
            _ => true,
        };
        let tag_fits = match (text_of(response.headers(), ETAG), &self.origin.etag) {
            (Some(now), Some(then)) => now == *then,
            _ => true,
        };
        self.offset > 0 && starts_here && total_fits && tag_fits
    }

    /// Forgets what has arrived.
    fn start_over(&mut self, origin: Origin) -> Result<()> {
        // The origin goes first: bytes under another origin's name must never be.
        let path = with_suffix(self.part.path(), ".json");
        let _ = std::fs::remove_file(&path);
        self.part.file.set_len(0).map_err(Error::io(self.part.path()))?;
        self.offset = 0;
        self.origin = origin;
        self.origin.write(&path)
    }

    async fn receive(&mut self, mut response: Response) -> Result<bool, Broken> {
        let failed = |part: &Part| Error::io(part.path().to_owned());
        self.part.file.set_len(self.offset).map_err(failed(&self.part))?;
        self.part.file.seek(SeekFrom::Start(self.offset)).map_err(failed(&self.part))?;
        let mut file = self.part.writer()?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES * 2);
        let mut pace = Pace::new(self.options.least_bytes, self.options.patience);
        let ended = loop {
            let chunk = pace.wait(response.chunk()).await;
            if let Some(Ok(Some(bytes))) = &chunk {
                pace.came(bytes.len());
                buffer.extend_from_slice(bytes);
                if buffer.len() < WRITE_BYTES {
                    continue;
                }
            }
            file.write_all(&buffer).await.map_err(failed(&self.part))?;
            self.offset += buffer.len() as u64;
            buffer.clear();
            self.progress.report(self.offset, self.origin.total);
            match chunk {
                Some(Ok(Some(_))) => {}
                Some(Ok(None)) => break Ok(()),
                Some(Err(error)) => break Err(self.broken(error)),
                None => break Err(Broken::Slow(pace.words())),
            }
        };
        file.flush().await.map_err(failed(&self.part))?;
        ended?;
        match self.origin.total {
            Some(total) if total != self.offset => {
                let cause = format!("{} of {total} bytes arrived", self.offset);
                if self.offset > total {
                    self.start_over(Origin::new(self.text))?;
                }
                Err(Broken::Maybe(cause, None))
            }
            _ => Ok(true),
        }
    }

    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> Broken {
        let hint = match status.as_u16() {
            401 | 407 => "give a user and password in the URL, or a fresh signature",
            403 => "the address is known but not allowed; look at the rights, or whether a signed URL has expired",
            404 | 410 => "there is no such file; look at the address (the month, the spelling)",
            408 | 425 | 429 => "the server is busy; try again later",
            400..=499 => "the request itself is refused; trying again will not help",
            500..=599 => "the server has a fault; try again later",
            _ => "that is no answer to a download",
        };
        let error = Error::Status { status: status.as_u16(), url: redact(self.text), hint: hint.into() };
        let may_pass = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        if !may_pass {
            return Broken::For(error);
        }
        Broken::Maybe(format!("the server answered {}: {hint}", status.as_u16()), retry_after(headers))
    }
}

/// Asks for the content only if it is other than this.
fn unless_same(request: RequestBuilder, origin: &Origin) -> RequestBuilder {
    match (&origin.etag, &origin.last_modified) {
        (Some(tag), _) => request.header(IF_NONE_MATCH, tag),
        (None, Some(date)) => request.header(IF_MODIFIED_SINCE, date),
        (None, None) => request,
    }
}

/// Does an answer say where it ends? HTTP/2 and later frame it; before, a length does, or chunks (RFC 9112, 6.3).
fn has_end(version: Version, headers: &HeaderMap) -> bool {
    let is_chunked =
        || text_of(headers, TRANSFER_ENCODING).is_some_and(|codings| codings.to_ascii_lowercase().ends_with("chunked"));
    version > Version::HTTP_11 || headers.contains_key(CONTENT_LENGTH) || is_chunked()
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_named_by_a_length_by_chunks_or_by_frames() {
        let with = |name: HeaderName, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        assert!(has_end(Version::HTTP_11, &with(CONTENT_LENGTH, "7")));
        assert!(has_end(Version::HTTP_11, &with(TRANSFER_ENCODING, "gzip, Chunked")));
        assert!(has_end(Version::HTTP_2, &HeaderMap::new()));
        assert!(!has_end(Version::HTTP_11, &HeaderMap::new()));
        assert!(!has_end(Version::HTTP_10, &with(TRANSFER_ENCODING, "gzip")));
    }
}
