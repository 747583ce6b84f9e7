//! Jobs: found, waited for, understood.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::CONTENT_LENGTH;
use serde_json::{Value, json};

use super::call::{next_wait, number, passes};
use super::{BigQuery, Named};
use crate::retry::Attempts;
use crate::{Answer, Error, Progress, Result};

/// The first wait for a job.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The most jobs of one id: the first, and those after failed ones.
const MOST_JOBS: u32 = 1_000;
/// What BigQuery says of the later one of two transactions on one table:
/// <https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency>.
const CONCURRENT: &str = "due to concurrent update";
/// The longest wait before one's turn is looked for again.
const LONGEST_TURN: Duration = Duration::from_secs(5);
/// So long others may be first.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How many of a job's errors are told.
const MOST_ERRORS: usize = 5;

/// A job that has ended well.
pub(crate) struct Done {
    /// Its id: the one that was wanted, or that with `-2`, `-3` .. after jobs that failed.
    pub(crate) id: String,
    pub(crate) job: Value,
    /// An earlier call had submitted it.
    pub(crate) reused: bool,
}

/// A job that was sent off.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    id: String,
    /// Where it runs, once that is known: nobody finds it without, outside of the US and the EU.
    location: Option<String>,
}

/// A job that there should be.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) configuration: &'a Value,
    /// A local file that is sent along, and who hears how far that is.
    pub(super) file: Option<(&'a Path, &'a dyn Progress)>,
    /// Gets the job that is submitted.
    pub(super) at_work: &'a Mutex<Option<Sent>>,
}

/// The number that a `SELECT count(*)` has answered.
pub(crate) fn count(answer: &Answer, of: &Named) -> Result<u64> {
    answer.first().and_then(Value::as_u64).ok_or_else(|| Error::Database {
        url: format!("bigquery://{of}"),
        message: "a count was answered without a number".into(),
        permanent: false,
    })
}

impl BigQuery {
    /// Sees to it that one job of this id ends well.
    pub(super) async fn once_done(&self, job_id: &str, wanted: Wanted<'_>) -> Result<Done> {
        let mut attempts = Attempts::new();
        let (begun, mut turn) = (Instant::now(), FIRST_WAIT);
        for n in 1..=MOST_JOBS {
            let id = if n == 1 { job_id.to_owned() } else { format!("{job_id}-{n}") };
            let sent = |location| {
                let sent = Sent { id: id.clone(), location };
                *wanted.at_work.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
            };
            sent(self.location.clone());
            let (job, reused) = self.submit(&id, wanted).await?;
            sent(self.location_of(&job));
            self.is_same(&id, &job, wanted.configuration)?;
            let job = self.ended(&id, job).await?;
            let Some(failure) = self.failure(&id, &job) else {
                return Ok(Done { id, job, reused });
            };
            // Another transaction was first; it may be a long one.
            if !reused && in_turn(&failure) && begun.elapsed() < PATIENCE {
                tokio::time::sleep(turn.mul_f64(0.5 + fastrand::f64())).await;
                turn = (turn * 2).min(LONGEST_TURN);
                continue;
            }
            // What failed before this call is no reason not to try.
            if !reused && (failure.is_permanent() || !attempts.again(None).await) {
                return Err(failure);
            }
        }
        Err(Error::Database {
            url: self.about(job_id),
            message: format!("{MOST_JOBS} jobs of this id have failed: look at them, then use another id"),
            permanent: true,
        })
    }

    /// The job of this id, and whether it was there before.
    async fn submit(&self, id: &str, wanted: Wanted<'_>) -> Result<(Value, bool)> {
        let body = self.body(id, wanted.configuration);
        let reply = match wanted.file {
            // Of an answer that is lost, the repetition is answered 409.
            None => {
                let at = self.at("jobs");
                self.call(id, &|| self.client.post(&at).json(&body)).await?
            }
            Some((path, progress)) => {
                if let Some(job) = self.job(id).await? {
                    return Ok((job, true));
                }
                Box::pin(self.upload(id, path, &body, progress)).await?
            }
        };
        match reply.status {
            status if status.is_success() => Ok((reply.body, false)),
            StatusCode::CONFLICT => {
                let job = self.job(id).await?.ok_or_else(|| self.refused(id, &reply))?;
                Ok((job, true))
            }
            _ => Err(self.refused(id, &reply)),
        }
    }

    /// A job as it is submitted.
    fn body(&self, id: &str, configuration: &Value) -> Value {
        let mut reference = json!({ "projectId": self.project, "jobId": id });
        if let Some(location) = &self.location {
            reference["location"] = json!(location);
        }
        json!({ "jobReference": reference, "configuration": configuration })
    }

    /// A count in a job's statistics.
    pub(super) fn counted(&self, job: &Value, count: &Value, name: &str) -> Result<u64> {
        number(count).ok_or_else(|| Error::Database {
            url: self.about(job["jobReference"]["jobId"].as_str().unwrap_or("job")),
            message: format!("the job has ended well and does not say its `{name}`"),
            permanent: true,
        })
    }

    /// Asks for the end of a job whose statement has this text, and waits for it: what it would do has then happened, or
    /// will not. A job of the same id that another call has submitted is left alone.
    pub(crate) async fn cancel(&self, sent: &Sent, own: &str) -> Result<()> {
        let Sent { id, location } = sent;
        let job = self.job_in(id, location.as_ref()).await?;
        let statement = job.as_ref().and_then(|job| job["configuration"]["query"]["query"].as_str());
        if !statement.is_some_and(|sql| sql.contains(own)) {
            return Ok(());
        }
        let at = self.at(&format!("jobs/{id}/cancel"));
        let place = location.iter().map(|location| ("location", location)).collect::<Vec<_>>();
        let reply = self.call(id, &|| self.client.post(&at).query(&place).header(CONTENT_LENGTH, 0)).await?;
        match self.job_in(id, location.as_ref()).await? {
            Some(job) if reply.status.is_success() => self.ended(id, job).await.map(drop),
            _ => Ok(()),
        }
    }

    /// The job of this id, if there is one.
    pub(super) async fn job(&self, id: &str) -> Result<Option<Value>> {
        self.job_in(id, self.location.as_ref()).await
    }

    async fn job_in(&self, id: &str, location: Option<&String>) -> Result<Option<Value>> {
        let at = self.at(&format!("jobs/{id}"));
        let place = location.map(|location| ("location", location)).into_iter().collect::<Vec<_>>();
        let reply = self.call(id, &|| self.client.get(&at).query(&place)).await?;
        match reply.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(reply.body)),
            _ => Err(self.refused(id, &reply)),
        }
    }

    /// Waits until a job has ended, well or not. Dropping the future leaves the job running.
    pub(super) async fn ended(&self, id: &str, mut job: Value) -> Result<Value> {
        let location = self.location_of(&job);
        let mut wait = FIRST_WAIT;
        while job["status"]["state"] != "DONE" {
            tokio::time::sleep(wait.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
            wait = next_wait(wait);
            job = self.job_in(id, location.as_ref()).await?.ok_or_else(|| Error::Database {
                url: self.about(id),
                message: "the job is no longer known; was its location stated? (BIGQUERY_LOCATION)".into(),
                permanent: false,
            })?;
        }
        Ok(job)
    }

    /// Where a job runs, as the answer to its submission says.
    fn location_of(&self, job: &Value) -> Option<String> {
        job["jobReference"]["location"].as_str().map(str::to_owned).or_else(|| self.location.clone())
    }

    /// What a job that ended badly says, in words. `None`: it ended well.
    pub(super) fn failure(&self, id: &str, job: &Value) -> Option<Error> {
        let first = job["status"].get("errorResult")?;
        let mut told = vec![words(first)];
        let more = job["status"]["errors"].as_array().into_iter().flatten().map(words);
        // The list repeats the result, and says of which row and column it is.
        more.for_each(|more| {
            if !told.contains(&more) {
                told.push(more);
            }
        });
        let left = told.len().saturating_sub(MOST_ERRORS);
        told.truncate(MOST_ERRORS);
        let mut message = told.join("; ");
        if left > 0 {
            message.push_str(&format!("; and {left} more"));
        }
        let permanent = !message.contains(CONCURRENT) && !first["reason"].as_str().is_some_and(passes);
        Some(Error::Database { url: self.about(id), message, permanent })
    }
}

/// Was it another transaction's turn?
fn in_turn(failure: &Error) -> bool {
    matches!(failure, Error::Database { message, .. } if message.contains(CONCURRENT))
}

fn words(error: &Value) -> String {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let place = match text("location") {
        "" => String::new(),
        place => format!(" (in {place})"),
    };
    format!("{}: {}{place}", text("reason"), text("message"))
}
