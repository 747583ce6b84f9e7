//! A local file along with its load job, in pieces: <https://cloud.google.com/bigquery/docs/reference/api-uploads#resumable>.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use serde_json::Value;

use super::BigQuery;
use super::call::Reply;
use crate::retry::{Attempts, retry_after};
use crate::{Error, Progress, Result};

/// How much goes up at once; a multiple of 256 KiB.
const PIECE: u64 = 8 << 20;

impl BigQuery {
    /// Sends a job and its file. The job begins when all is there; what was sent before is not seen by anybody.
    pub(super) async fn upload(&self, id: &str, path: &Path, job: &Value, progress: &dyn Progress) -> Result<Reply> {
        let size = tokio::fs::metadata(path).await.map_err(Error::io(path))?.len();
        let at = format!("{}/upload/bigquery/v2/projects/{}/jobs", self.base, self.project);
        let begin = || {
            self.client
                .post(&at)
                .query(&[("uploadType", "resumable")])
                .header("X-Upload-Content-Type", "application/octet-stream")
                .header("X-Upload-Content-Length", size)
                .json(job)
        };
        let begun = self.call(id, &begin).await?;
        if !begun.status.is_success() {
            return Ok(begun);
        }
        let session = begun.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let session = session.ok_or_else(|| self.refused(id, &begun))?.to_owned();
        let mut sent = 0;
        let mut attempts = Attempts::new();
        let mut renewed = false;
        loop {
            let piece = read(path, sent, PIECE.min(size - sent)).await?;
            let range = match piece.len() as u64 {
                // Asks how much has arrived.
                0 => format!("bytes */{size}"),
                length => format!("bytes {sent}-{}/{size}", sent + length - 1),
            };
            let send = || {
                let request = self.client.put(&session).header(CONTENT_RANGE, &range);
                request.header(CONTENT_LENGTH, piece.len()).body(piece.clone())
            };
            let mut outcome = self.once(id, &send).await?;
            let mut wait = None;
            if !settled(&outcome) {
                // How much has arrived is asked before the next try.
                if let Ok(reply) = &outcome {
                    wait = retry_after(&reply.headers);
                }
                let expired = matches!(&outcome, Ok(reply) if reply.status == StatusCode::UNAUTHORIZED);
                // A refused token is forgotten; with the next one the same is tried at once, but only once.
                let at_once = expired && !renewed;
                renewed |= expired;
                if !at_once && !attempts.again(wait).await {
                    let words = outcome.err().unwrap_or_else(|| "the server was busy".into());
                    let message = attempts.told(words);
                    return Err(Error::Database { url: self.about(id), message, permanent: false });
                }
                let all = format!("bytes */{size}");
                let ask = || self.client.put(&session).header(CONTENT_RANGE, &all).header(CONTENT_LENGTH, 0);
                outcome = self.once(id, &ask).await?;
            }
            match outcome {
                Ok(reply) if reply.status == StatusCode::PERMANENT_REDIRECT => {
                    let arrived = arrived(&reply);
                    if arrived > sent {
                        attempts = Attempts::new();
                    }
                    sent = arrived.min(size);
                    progress.report(sent, Some(size));
                }
                // The session is over; had the job begun, its id tells.
                Ok(reply) if matches!(reply.status, StatusCode::NOT_FOUND | StatusCode::GONE) => {
                    return match self.job(id).await? {
                        Some(body) => {
                            Ok(Reply { status: StatusCode::OK, headers: reply.headers, body, error: Value::Null })
                        }
                        None => Err(Error::Database {
                            url: self.about(id),
                            message: "the upload was ended by the server; it has to begin anew".into(),
                            permanent: false,
                        }),
                    };
                }
                Ok(reply)
                    if !settled(&Ok(Reply {
                        status: reply.status,
                        headers: Default::default(),
                        body: Value::Null,
                        error: Value::Null,
                    })) => {}
                Ok(reply) => {
                    if reply.status.is_success() {
                        progress.report(size, Some(size));
                    }
                    return Ok(reply);
                }
                Err(_) => {}
            }
        }
    }
}

/// Is this an answer to go on with?
fn settled(outcome: &Result<Reply, String>) -> bool {
    outcome.as_ref().is_ok_and(|reply| {
        let status = reply.status.as_u16();
        status == 308 || !(crate::error::may_pass(status) || status == 401)
    })
}

/// `Range: bytes=0-N`: so much is there. None: nothing is.
fn arrived(reply: &Reply) -> u64 {
    let range = reply.headers.get(RANGE).and_then(|range| range.to_str().ok());
    range.and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok()).map_or(0, |last| last + 1)
}

async fn read(path: &Path, from: u64, length: u64) -> Result<Bytes> {
    let own = path.to_owned();
    let work = move || {
        let mut file = std::fs::File::open(&own)?;
        file.seek(SeekFrom::Start(from))?;
        let mut piece = vec![0; length as usize];
        file.read_exact(&mut piece)?;
        Ok(Bytes::from(piece))
    };
    let read = tokio::task::spawn_blocking(work).await;
    read.map_err(|_| Error::lost_thread("reading a file"))?.map_err(Error::io(path))
}
