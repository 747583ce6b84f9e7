//! Questions and their rows.

use std::sync::Mutex;

use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};

use super::BigQuery;
use super::call::number;
use super::job::{Done, Sent, Wanted};
use super::results::MOMENTS;
use crate::{Answer, Error, Result};

/// How long one request waits for the answer, in milliseconds.
const WAIT: u64 = 10_000;
/// The most rows that are read, as with any database.
const MOST_ROWS: usize = 10_000;
/// The most bytes of them.
const MOST_BYTES: usize = 16 << 20;
/// Rows of one page.
const PAGE: usize = 2_000;

impl BigQuery {
    /// Runs a statement of GoogleSQL and reads its rows. Whole numbers, fractions, booleans and null come as such, moments
    /// of `TIMESTAMP` as RFC 3339, records and lists as JSON, all else as BigQuery's text. For more than
    /// 10,000 rows, write a table.
    ///
    /// A statement that changes something can be done twice when the answer to it is lost for minutes; give changes the form
    /// of a `MERGE`, or load.
    ///
    /// # Errors
    /// [`Error::Database`] when the statement is refused or BigQuery cannot be reached; [`Error::Invalid`] for too many rows.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn query(&self, sql: &str) -> Result<Answer> {
        // BigQuery takes requests of one id within minutes for the same one.
        let request = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let mut body = self.question(sql);
        body["requestId"] = json!(request);
        body["timeoutMs"] = json!(WAIT);
        body["maxResults"] = json!(PAGE);
        body["formatOptions"] = json!({ "useInt64Timestamp": true });
        let at = self.at("queries");
        let mut page: Value = self.get("query", &|| self.client.post(&at).json(&body)).await?;
        let id = page["jobReference"]["jobId"].as_str().unwrap_or_default().to_owned();
        let location = page["jobReference"]["location"].as_str().map(str::to_owned).or_else(|| self.location.clone());
        let next = self.at(&format!("queries/{id}"));
        let more = |token: Option<&str>| -> RequestBuilder {
            let request = self.client.get(&next).query(&[("timeoutMs", WAIT), ("maxResults", PAGE as u64)]);
            let request =
                request.query(&[MOMENTS]).query(&location.iter().map(|l| ("location", l)).collect::<Vec<_>>());
            request.query(&token.iter().map(|t| ("pageToken", t)).collect::<Vec<_>>())
        };
        while page["jobComplete"] == false {
            page = self.get(&id, &|| more(None)).await?;
        }
        let fields = page["schema"]["fields"].as_array().cloned().unwrap_or_default();
        let columns = fields.iter().map(|field| field["name"].as_str().unwrap_or_default().to_owned()).collect();
        let mut bytes = 0;
        let mut answer =
            Answer { columns, rows: Vec::new(), affected: number(&page["numDmlAffectedRows"]).unwrap_or(0) };
        loop {
            for row in page["rows"].as_array().into_iter().flatten() {
                bytes += row.to_string().len();
                answer.rows.push(cells(row, &fields));
            }
            if answer.rows.len() > MOST_ROWS || bytes > MOST_BYTES {
                return Err(Error::Invalid(format!(
                    "{}: the answer has more than {MOST_ROWS} rows, or {} MiB: write a table and read that",
                    self.about(&id),
                    MOST_BYTES >> 20
                )));
            }
            let Some(token) = page["pageToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned) else {
                return Ok(answer);
            };
            page = self.get(&id, &|| more(Some(&token))).await?;
        }
    }

    /// Runs statements as the job of this id, once. `at_work` gets the job that is submitted, for those who would end
    /// it.
    pub(crate) async fn run(&self, id: &str, sql: &str, at_work: &Mutex<Option<Sent>>) -> Result<Done> {
        let mut query = json!({ "query": sql, "useLegacySql": false });
        if let Some(dataset) = &self.dataset {
            query["defaultDataset"] = json!({ "projectId": self.project, "datasetId": dataset });
        }
        let configuration = json!({ "query": query });
        let done = self.once_done(id, Wanted { configuration: &configuration, file: None, at_work }).await?;
        tracing::debug!(job = done.id, reused = done.reused, "ran {sql}");
        Ok(done)
    }

    /// How many bytes a statement would read, which is what it costs. Nothing is run.
    ///
    /// # Errors
    /// As [`BigQuery::query`].
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn cost(&self, sql: &str) -> Result<u64> {
        let mut body = self.question(sql);
        body["dryRun"] = json!(true);
        let at = self.at("queries");
        let answer: Value = self.get("query", &|| self.client.post(&at).json(&body)).await?;
        self.counted(&answer, &answer["totalBytesProcessed"], "totalBytesProcessed")
    }

    fn question(&self, sql: &str) -> Value {
        let mut body = json!({ "query": sql, "useLegacySql": false });
        if let Some(dataset) = &self.dataset {
            body["defaultDataset"] = json!({ "projectId": self.project, "datasetId": dataset });
        }
        if let Some(location) = &self.location {
            body["location"] = json!(location);
        }
        body
    }
}

/// `{"f": [{"v": ..}]}`: <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults>
fn cells(row: &Value, fields: &[Value]) -> Vec<Value> {
    let cells = row["f"].as_array().cloned().unwrap_or_default();
    fields.iter().zip(cells).map(|(field, cell)| as_json(&cell["v"], field)).collect()
}

/// A value, as JSON.
pub(crate) fn as_json(raw: &Value, field: &Value) -> Value {
    if field["mode"] == "REPEATED" {
        let one = json!({ "type": field["type"], "fields": field["fields"] });
        return raw.as_array().into_iter().flatten().map(|item| as_json(&item["v"], &one)).collect();
    }
    let Some(text) = raw.as_str() else {
        if let Some(inner) = field["fields"].as_array().filter(|_| raw.is_object()) {
            let names = inner.iter().map(|field| field["name"].as_str().unwrap_or_default().to_owned());
            return Value::Object(names.zip(cells(raw, inner)).collect::<Map<_, _>>());
        }
        return raw.clone();
    };
    let parsed = match field["type"].as_str().unwrap_or_default() {
        "INTEGER" | "INT64" => text.parse::<i64>().ok().map(Value::from),
        "FLOAT" | "FLOAT64" => text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::from),
        "BOOLEAN" | "BOOL" => text.parse::<bool>().ok().map(Value::from),
        "TIMESTAMP" => moment(text),
        "JSON" => serde_json::from_str(text).ok(),
        _ => None,
    };
    // NaN and its like have no number in JSON.
    parsed.unwrap_or_else(|| raw.clone())
}

/// Microseconds since 1970, as they were asked for; or seconds, which have a point or an exponent and are exact up to the year
/// 2255.
pub(crate) fn micros(text: &str) -> Option<i64> {
    match text.contains(['.', 'e', 'E']) {
        true => text.parse::<f64>().ok().map(|seconds| (seconds * 1e6).round() as i64),
        false => text.parse().ok(),
    }
}

fn moment(text: &str) -> Option<Value> {
    let moment = chrono::DateTime::from_timestamp_micros(micros(text)?)?;
    Some(moment.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        let of = |kind: &str, raw: Value| as_json(&raw, &json!({ "type": kind }));
        assert_eq!(of("INTEGER", json!("9007199254740993")), json!(9_007_199_254_740_993_i64));
        assert_eq!(of("FLOAT", json!("0.1")), json!(0.1));
        assert_eq!(of("FLOAT", json!("NaN")), json!("NaN"));
        assert_eq!(of("BOOLEAN", json!("true")), json!(true));
        assert_eq!(of("TIMESTAMP", json!("1.6094592E9")), json!("2021-01-01T00:00:00Z"));
        assert_eq!(of("TIMESTAMP", json!("1609459200.123456")), json!("2021-01-01T00:00:00.123456Z"));
        assert_eq!(of("TIMESTAMP", json!("253402300799999999")), json!("9999-12-31T23:59:59.999999Z"));
        assert_eq!(of("TIMESTAMP", json!("-0.5")), json!("1969-12-31T23:59:59.500Z"));
        assert_eq!(of("NUMERIC", json!("12.50")), json!("12.50"));
        assert_eq!(of("STRING", Value::Null), Value::Null);
        let list = json!({ "type": "INTEGER", "mode": "REPEATED" });
        assert_eq!(as_json(&json!([{ "v": "1" }, { "v": "2" }]), &list), json!([1, 2]));
        let record = json!({ "type": "RECORD", "fields": [{ "name": "a", "type": "INTEGER" }] });
        assert_eq!(as_json(&json!({ "f": [{ "v": "1" }] }), &record), json!({ "a": 1 }));
    }
}
