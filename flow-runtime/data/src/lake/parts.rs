//! An upload in parts that leaves none behind.

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path as Key;
use object_store::{Error, MultipartUpload, PutMultipartOptions, PutPayload, PutResult, Result};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::open::Store;
use crate::error::with_causes;
use crate::settled::leave;

/// How many parts are on their way at once, unless there is no room for so many.
const MOST: u64 = 4;
/// How long a failed upload waits for its parts to be gone; the abort goes on afterwards.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// How long is gone on with what nobody waits for any more: a program that ends waits for it.
const LEFT_PATIENCE: Duration = Duration::from_secs(20);

/// Cleans up; a store that cannot be reached is not waited for as long as it is by who wants something of it.
pub(super) async fn cleaned<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::Generic { store: "upload", source: "the store does not answer".into() };
    tokio::time::timeout(LEFT_PATIENCE, work).await.unwrap_or_else(|_| Err(late()))
}

/// Parts on their way. Unless they were completed, they are aborted: by [`Parts::abort`], or in the background when this is
/// dropped.
pub(super) struct Parts {
    upload: Option<Box<dyn MultipartUpload>>,
    tasks: JoinSet<Result<()>>,
    /// How many are on their way at most.
    most: usize,
    /// Goes with the last request.
    busy: Option<Busy>,
}

/// Whoever has the other end hears when it is dropped.
pub(super) type Busy = oneshot::Sender<()>;

impl Parts {
    /// Begins an upload. Were the future dropped between the request and its answer, nobody would know the upload's name; so the
    /// request is made to the end (or given up a while later), and an upload that nobody takes is aborted. `busy` is dropped when
    /// nothing of all that is under way any more.
    pub(super) async fn begin(
        store: Arc<Store>,
        key: Key,
        options: PutMultipartOptions,
        busy: Option<Busy>,
    ) -> Result<Self> {
        let (mut tell, told) = oneshot::channel();
        leave(async move {
            let begun = tokio::select! {
                begun = store.objects().put_multipart_opts(&key, options) => begun,
                () = async { tell.closed().await; tokio::time::sleep(LEFT_PATIENCE).await } => return,
            };
            // What cannot be handed over is dropped here, and aborts itself.
            let most = MOST as usize;
            drop(tell.send(begun.map(|upload| Self { upload: Some(upload), tasks: JoinSet::new(), most, busy })));
        });
        told.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Has so many bytes of parts of this size in memory at most: those on their way, and the one that is read meanwhile.
    pub(super) fn within(&mut self, memory: u64, part_bytes: u64) {
        self.most = (memory / part_bytes.max(1)).saturating_sub(1).clamp(1, MOST) as usize;
    }

    /// Sends a part once there is room for it. Fails with what a part before it failed with.
    pub(super) async fn send(&mut self, part: PutPayload) -> Result<()> {
        while self.tasks.len() >= self.most {
            self.join().await?;
        }
        let upload = self.upload.as_mut().ok_or_else(gone)?;
        self.tasks.spawn(upload.put_part(part));
        Ok(())
    }

    async fn join(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(gone()),
            None => Ok(()),
        }
    }

    /// Waits for all parts and makes them an object.
    pub(super) async fn complete(&mut self) -> Result<PutResult> {
        while !self.tasks.is_empty() {
            self.join().await?;
        }
        let upload = self.upload.as_mut().ok_or_else(gone)?;
        let done = upload.complete().await?;
        self.upload = None;
        Ok(done)
    }

    /// Gives the parts up and waits for a while until they are gone.
    pub(super) async fn abort(mut self) {
        let (tell, told) = oneshot::channel();
        self.give_up(Some(tell));
        let _ = tokio::time::timeout(ABORT_PATIENCE, told).await;
    }

    fn give_up(&mut self, tell: Option<oneshot::Sender<()>>) {
        let Some(mut upload) = self.upload.take() else {
            return;
        };
        let mut tasks = std::mem::take(&mut self.tasks);
        let busy = self.busy.take();
        leave(async move {
            // A part that arrives after the abort would stay.
            tasks.shutdown().await;
            if let Err(error) = cleaned(upload.abort()).await {
                let why = with_causes(&error);
                tracing::warn!("parts of an upload stay behind, `Lake::clean` removes them: {why}");
            }
            drop(busy);
            if let Some(tell) = tell {
                let _ = tell.send(());
            }
        });
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.give_up(None);
    }
}

/// Only a runtime that ends, or a panic, stops a task.
fn gone() -> Error {
    Error::Generic { store: "upload", source: "the tokio runtime ended".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_parts_are_under_way_as_there_is_room_for() {
        for (memory, most) in [(0, 1), (16, 1), (24, 2), (39, 3), (40, 4), (u64::MAX, 4)] {
            let mut parts = Parts { upload: None, tasks: JoinSet::new(), most: 4, busy: None };
            parts.within(memory, 8);
            assert_eq!(parts.most, most, "{memory}");
        }
    }
}
