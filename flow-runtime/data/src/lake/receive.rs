//! The way down of an object, continued where it broke off.

use std::io::{Seek, SeekFrom};
use std::time::{Duration, Instant};

use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::objects::head;
use super::open::{Store, failed};
use super::{Lake, Object};
use crate::files::Part;
use crate::pace::Pace;
use crate::redact::redact;
use crate::retry::Attempts;
use crate::{Error, Progress, Result};

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 256 << 10;
/// How often it begins anew at most, as another content is there.
const MOST_RESTARTS: u32 = 6;
/// What object_store says where the whole came and not the rest.
const NO_RANGES: &str = "non-partial response";

/// An object on its way into a part file.
pub(crate) struct Receiving<'a> {
    pub(crate) lake: &'a Lake,
    pub(crate) url: &'a Url,
    /// A connection that brings fewer bytes than this ..
    pub(crate) least_bytes: u64,
    /// .. in this time is given up, and the next continues.
    pub(crate) patience: Duration,
    pub(crate) progress: &'a dyn Progress,
}

/// Why it did not arrive.
pub(crate) enum Stopped {
    For(Error),
    /// Several attempts in a row brought nothing.
    Fruitless {
        cause: String,
        attempts: u32,
    },
}

/// Why an attempt ended before its end.
enum Ended {
    For(Error),
    Maybe { cause: String, slow: bool },
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

impl Receiving<'_> {
    /// Attempts until all of one content is in the part file. `begin` is told which content is there before each, and says how
    /// much of that very one is in the file already, or that nothing is wanted of it.
    pub(crate) async fn run(
        &self,
        part: &mut Part,
        mut begin: impl FnMut(&Part, &Object) -> Result<Option<u64>> + Send,
    ) -> Result<Option<Object>, Stopped> {
        let (store, key) = self.lake.open(self.url)?;
        let mut attempts = Attempts::new();
        let (mut last, mut reached) = (Instant::now(), 0);
        let (mut restarts, mut without_ranges) = (0, false);
        loop {
            let mut gained = 0;
            let ended = match self.look(&store, &key, last).await {
                Err(ended) => ended,
                Ok(there) => {
                    if without_ranges {
                        part.file.set_len(0).map_err(Error::io(part.path()))?;
                    }
                    let Some(before) = begin(part, &there)? else { return Ok(None) };
                    let mut offset = before;
                    match self.receive(&store, &key, part, &there, &mut offset).await {
                        Ok(()) => return Ok(Some(there)),
                        Err(ended) => {
                            // What begins anew each time gets nowhere, however much comes.
                            gained = if before < reached { 0 } else { offset - before };
                            restarts += u32::from(before < reached);
                            reached = offset;
                            ended
                        }
                    }
                }
            };
            let cause = match ended {
                Ended::For(error) => return Err(Stopped::For(error)),
                Ended::Maybe { cause, slow } => {
                    if gained > 0 && (!slow || gained >= self.least_bytes) {
                        attempts.progressed();
                        last = Instant::now();
                    }
                    cause
                }
            };
            without_ranges |= cause.contains(NO_RANGES);
            // However much comes between: what is written anew every few minutes would never be here.
            if restarts >= MOST_RESTARTS {
                return Err(Stopped::Fruitless { cause, attempts: restarts });
            }
            if !attempts.again(None).await {
                return Err(Stopped::Fruitless { cause, attempts: attempts.made() });
            }
        }
    }

    /// What is there. `last` is when a byte has come.
    async fn look(&self, store: &Store, key: &Key, last: Instant) -> Result<Object, Ended> {
        match head(store, key, self.url).await {
            Ok(Some(there)) => Ok(there),
            Ok(None) => Err(Ended::For(Error::Store {
                url: redact(self.url.as_str()),
                message: "there is no such object; look at the address (the month, the spelling)".into(),
                permanent: true,
            })),
            // The client has asked again and again, for as long as a store is waited for.
            Err(error) if last.elapsed() >= self.lake.patience() => Err(Ended::For(error)),
            Err(error) => Err(ended(error)),
        }
    }

    /// Appends the rest of this very content to the part file.
    async fn receive(
        &self,
        store: &Store,
        key: &Key,
        part: &mut Part,
        there: &Object,
        offset: &mut u64,
    ) -> Result<(), Ended> {
        self.progress.report(*offset, Some(there.bytes));
        if *offset == there.bytes {
            return Ok(());
        }
        // For S3 and Azure the tag is enough; to name a version there takes a right of its own (s3:GetObjectVersion).
        let generation = there.version.generation.as_ref().filter(|_| matches!(store, Store::Google(_)));
        let get = GetOptions {
            // A store that knows no ranges still gives the whole.
            range: (*offset > 0).then_some(GetRange::Bounded(*offset..there.bytes)),
            if_match: there.version.etag.clone(),
            version: generation.cloned(),
            ..GetOptions::default()
        };
        let mut pace = Pace::new(self.least_bytes, self.patience);
        let late = |pace: &Pace| Ended::Maybe { cause: pace.words(), slow: true };
        let began = pace.wait(store.objects().get_opts(key, get)).await.ok_or_else(|| late(&pace))?;
        let mut stream = match began {
            Ok(found) => found.into_stream(),
            // Another content by now, or none: the next look tells.
            Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => {
                return Err(Ended::Maybe { cause: "the object changed meanwhile".into(), slow: false });
            }
            Err(error) => return Err(ended(failed(self.url)(error))),
        };
        part.file.set_len(*offset).map_err(Error::io(part.path()))?;
        part.file.seek(SeekFrom::Start(*offset)).map_err(Error::io(part.path()))?;
        let mut file = part.writer()?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES * 2);
        let outcome = loop {
            let piece = pace.wait(stream.next()).await;
            if let Some(Some(Ok(bytes))) = &piece {
                pace.came(bytes.len());
                buffer.extend_from_slice(bytes);
                if buffer.len() < WRITE_BYTES {
                    continue;
                }
            }
            file.write_all(&buffer).await.map_err(Error::io(part.path()))?;
            *offset += buffer.len() as u64;
            buffer.clear();
            self.progress.report(*offset, Some(there.bytes));
            match piece {
                Some(Some(Ok(_))) => {}
                // Whether it is for good, as where another content is there by now, the next look tells.
                Some(Some(Err(error))) => {
                    let cause = words(failed(self.url)(error));
                    break Err(Ended::Maybe { cause, slow: false });
                }
                Some(None) if *offset != there.bytes => {
                    let cause = format!("{offset} of {} bytes arrived", there.bytes);
                    break Err(Ended::Maybe { cause, slow: false });
                }
                Some(None) => break Ok(()),
                None => break Err(late(&pace)),
            }
        };
        file.flush().await.map_err(Error::io(part.path()))?;
        outcome
    }
}

/// What may pass is tried again.
fn ended(error: Error) -> Ended {
    match error.is_permanent() {
        true => Ended::For(error),
        false => Ended::Maybe { cause: words(error), slow: false },
    }
}

/// What a store says, without its URL.
fn words(error: Error) -> String {
    match error {
        Error::Store { message, .. } => message,
        other => other.to_string(),
    }
}
