//! BigQuery's jobs, tables and queries: <https://cloud.google.com/bigquery/docs/reference/rest>. It reads what it is given:
//! rows are counted in the files themselves.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::columns;
use super::kept::Kept;
use super::storage::Storage;
use crate::server::{Reply, Request};

/// What a load job may state; anything else is refused:
/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad>.
const LOAD: [&str; 12] = [
    "destinationTable",
    "sourceFormat",
    "writeDisposition",
    "createDisposition",
    "sourceUris",
    "schema",
    "timePartitioning",
    "clustering",
    "schemaUpdateOptions",
    "skipLeadingRows",
    "allowQuotedNewlines",
    "parquetOptions",
];
/// Pieces but the last have a multiple of so many bytes:
/// <https://cloud.google.com/bigquery/docs/reference/api-uploads#chunking>.
const PIECE: usize = 256 << 10;
/// Rows of a page, however many are asked for, unless [`Jobs::page`] says so.
const PAGE: usize = 2;

struct Job {
    body: Value,
    files: Vec<Vec<u8>>,
    /// What a query has given: columns, rows.
    answer: (Value, Vec<Value>),
}

#[derive(Default)]
struct Table {
    /// By partition; the empty name for the rest.
    rows: BTreeMap<String, u64>,
    definition: Value,
}

struct Session {
    job: Value,
    total: usize,
    arrived: Vec<u8>,
}

#[derive(Default)]
pub struct Jobs {
    jobs: BTreeMap<String, Job>,
    tables: BTreeMap<String, Table>,
    sessions: BTreeMap<String, Session>,
    /// The next jobs end with this reason instead of doing anything.
    pub fail: Vec<String>,
    /// Of the next piece only the first half is kept.
    pub half: bool,
    /// So many of the next statements lose against another transaction.
    pub conflicts: usize,
    /// Jobs of statements go on and on.
    pub held: bool,
    /// Jobs end at the first look.
    pub quick: bool,
    /// How many loads took effect.
    pub loads: usize,
    /// Where jobs run. Who asks for one there and does not say so finds none, other than in the US and the EU:
    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get>.
    pub region: Option<&'static str>,
    /// The most rows of a page, if not two.
    pub page: usize,
    /// After the first page comes the first page once more, and then the others.
    pub twice: bool,
    /// After the first page comes the second, for ever.
    pub stuck: bool,
    /// So many rows fewer come than are told of.
    pub missing: usize,
    /// What a statement answers: columns, rows. Moments are whole microseconds.
    pub answers: BTreeMap<String, (Value, Vec<Value>)>,
    /// Tables that were created by themselves, with all their rows.
    pub kept: Kept,
}

impl Jobs {
    pub fn ids(&self) -> Vec<String> {
        self.jobs.keys().cloned().collect()
    }

    /// What a job is at.
    pub fn state(&self, id: &str) -> Option<String> {
        Some(self.jobs.get(id)?.body["status"]["state"].as_str()?.to_owned())
    }

    /// Jobs of such ids that have not ended.
    pub fn unfinished(&self, kind: &str) -> Vec<String> {
        let at_work = |id: &String| id.starts_with(kind) && self.state(id).is_some_and(|state| state != "DONE");
        self.ids().into_iter().filter(at_work).collect()
    }

    /// All jobs come to their ends, though nobody looks.
    pub fn finish(&mut self) {
        for id in self.unfinished("") {
            while self.state(&id).is_some_and(|state| state != "DONE") {
                self.look(&id);
            }
        }
    }

    pub fn rows(&self, table: &str) -> u64 {
        self.tables.get(table).map_or(0, |table| table.rows.values().sum())
    }

    /// Jobs of statements that took effect.
    pub fn statements(&self) -> usize {
        let done = |job: &&Job| job.body["configuration"]["query"].is_object() && job.body["status"]["state"] == "DONE";
        self.jobs.values().filter(done).filter(|job| job.body["status"].get("errorResult").is_none()).count()
    }

    pub fn serve(
        &mut self,
        request: &Request,
        rest: &str,
        upload: bool,
        query: &BTreeMap<String, String>,
        base: &str,
        storage: &Storage,
    ) -> Reply {
        let parts: Vec<_> = rest.split('/').collect();
        if let (["projects", _, "jobs" | "queries", id, ..], Some(region)) = (parts.as_slice(), self.region)
            && query.get("location").map(String::as_str) != Some(region)
        {
            return refused(404, "notFound", &format!("Not found: Job {id}"));
        }
        let body = || serde_json::from_slice::<Value>(&request.body).map_err(|_| refused(400, "parseError", "no JSON"));
        match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["projects", project, "jobs"]) => match body() {
                Ok(body) if upload => self.begin(request, project, body, query, base),
                Ok(body) if body["configuration"]["query"].is_object() => self.insert(project, body, Vec::new()),
                Ok(body) => {
                    let uris = body["configuration"]["load"]["sourceUris"].as_array().cloned().unwrap_or_default();
                    let names = uris.iter().filter_map(|uri| uri.as_str()?.strip_prefix("gs://"));
                    let files: Option<Vec<_>> = names.map(|name| storage.object(name)).collect();
                    match files {
                        Some(files) if !files.is_empty() => self.insert(project, body, files),
                        _ => refused(404, "notFound", "Not found: URI"),
                    }
                }
                Err(refused) => refused,
            },
            ("PUT", ["projects", project, "jobs"]) if upload => self.piece(request, project, query),
            ("GET", ["projects", _, "jobs", id]) => self.look(id),
            // https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/cancel
            ("POST", ["projects", _, "jobs", id, "cancel"]) => match self.jobs.get_mut(*id) {
                Some(job) => {
                    if job.body["status"]["state"] != "DONE" {
                        let stopped = json!({ "reason": "stopped", "message": "Job execution was cancelled" });
                        job.body["status"] = json!({ "state": "DONE", "errorResult": stopped, "errors": [stopped] });
                    }
                    Reply::new(200, json!({ "job": job.body }).to_string())
                }
                None => refused(404, "notFound", &format!("Not found: Job {id}")),
            },
            ("POST", ["projects", _, "queries"]) => match body() {
                Ok(body) => self.ask(&body),
                Err(refused) => refused,
            },
            ("GET", ["projects", _, "queries", id]) => self.page(&super::decoded(id), query),
            ("GET", ["projects", project, "datasets", dataset, "tables", table]) => self.table(project, dataset, table),
            ("POST", ["projects", project, "datasets", dataset, "tables"]) => match body() {
                Ok(body) => self.kept.create(project, dataset, body),
                Err(refused) => refused,
            },
            ("DELETE", ["projects", project, "datasets", dataset, "tables", table]) => {
                self.kept.delete(&format!("{project}.{dataset}.{table}"))
            }
            _ => refused(400, "invalid", &format!("{} {}", request.method, request.target)),
        }
    }

    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/insert>: an id is known once in a project.
    fn insert(&mut self, project: &str, mut body: Value, files: Vec<Vec<u8>>) -> Reply {
        let id = body["jobReference"]["jobId"].as_str().unwrap_or_default().to_owned();
        let load = body["configuration"]["load"].as_object().cloned().unwrap_or_default();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if id.is_empty() || !id.chars().all(valid) || body["jobReference"]["projectId"] != project {
            return refused(400, "invalid", "jobReference");
        }
        if let Some(unknown) = load.keys().find(|name| !LOAD.contains(&name.as_str())) {
            return refused(400, "invalid", &format!("Unknown name {unknown}"));
        }
        let table = load.get("destinationTable").and_then(|table| table["tableId"].as_str());
        let partition = table.is_some_and(|table| table.contains('$'));
        let updates = load.contains_key("schemaUpdateOptions");
        if updates
            && load["writeDisposition"] != "WRITE_APPEND"
            && !(partition && load["writeDisposition"] == "WRITE_TRUNCATE")
        {
            return refused(400, "invalid", "Schema update options should only be specified with WRITE_APPEND");
        }
        if self.jobs.contains_key(&id) {
            return refused(409, "duplicate", &format!("Already Exists: Job {project}:US.{id}"));
        }
        body["status"] = json!({ "state": "PENDING" });
        if let Some(region) = self.region {
            body["jobReference"]["location"] = json!(region);
        }
        self.jobs.insert(id, Job { body: body.clone(), files, answer: (json!([]), Vec::new()) });
        Reply::new(200, body.to_string())
    }

    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get>. Each look is a step of the job.
    fn look(&mut self, id: &str) -> Reply {
        let Some(mut job) = self.jobs.remove(id) else {
            return refused(404, "notFound", &format!("Not found: Job {id}"));
        };
        match job.body["status"]["state"].as_str() {
            Some("PENDING" | "RUNNING") if self.held && job.body["configuration"]["query"].is_object() => {
                job.body["status"]["state"] = json!("RUNNING");
            }
            Some("PENDING") if !self.quick => job.body["status"]["state"] = json!("RUNNING"),
            Some("PENDING" | "RUNNING") => {
                let (status, statistics) = self.run(&mut job);
                job.body["status"] = status;
                job.body["statistics"] = statistics;
            }
            _ => {}
        }
        let reply = Reply::new(200, job.body.to_string());
        self.jobs.insert(id.to_owned(), job);
        reply
    }

    /// Status and statistics at the end.
    fn run(&mut self, job: &mut Job) -> (Value, Value) {
        let failed = |reason: &str, message: &str, more: Vec<Value>| {
            let result = json!({ "reason": reason, "message": message });
            let errors: Vec<_> = std::iter::once(result.clone()).chain(more).collect();
            (json!({ "state": "DONE", "errorResult": result, "errors": errors }), json!({}))
        };
        if !self.fail.is_empty() {
            return failed(
                &self.fail.remove(0),
                "An internal error occurred and the request could not be completed.",
                vec![],
            );
        }
        if let Some(sql) = job.body["configuration"]["query"]["query"].as_str() {
            if self.conflicts > 0 {
                self.conflicts -= 1;
                // https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency
                let message = "Transaction is aborted due to concurrent update against table project-1:trips.t";
                return failed("invalidQuery", message, vec![]);
            }
            let answer = match self.answers.get(sql) {
                Some(answer) => Ok(answer.clone()),
                None => self.kept.ask(sql),
            };
            return match answer {
                Ok(answer) => {
                    job.answer = answer;
                    (json!({ "state": "DONE" }), json!({ "query": {} }))
                }
                Err(why) => failed("invalidQuery", &why, vec![]),
            };
        }
        let load = &job.body["configuration"]["load"];
        let mut rows = 0;
        for file in &job.files {
            match count(load, file) {
                Ok(more) => rows += more,
                // https://cloud.google.com/bigquery/docs/error-messages#invalid
                Err(errors) => {
                    let message =
                        "Error while reading data, error message: table encountered too many errors, giving up.";
                    return failed("invalid", message, errors);
                }
            }
        }
        let name = |part: &str| load["destinationTable"][part].as_str().unwrap_or_default();
        let (table, partition) = name("tableId").split_once('$').unwrap_or((name("tableId"), ""));
        let whole = format!("{}.{}.{table}", name("projectId"), name("datasetId"));
        if self.kept.has(&whole) {
            if load["writeDisposition"] != "WRITE_EMPTY" || self.kept.rows(&whole) > 0 {
                return failed("duplicate", "Already Exists: Table", vec![]);
            }
            for file in &job.files {
                if let Err(why) = self.kept.load(&whole, file) {
                    return failed("invalid", &why, vec![]);
                }
            }
            self.loads += 1;
            let statistics = json!({ "load": { "outputRows": rows.to_string(), "inputFileBytes": "1" } });
            return (json!({ "state": "DONE" }), statistics);
        }
        if load["createDisposition"] == "CREATE_NEVER" && !self.tables.contains_key(&whole) {
            return failed("notFound", &format!("Not found: Table {whole}"), vec![]);
        }
        let found = (load["sourceFormat"] == "PARQUET").then(|| job.files.iter().flat_map(|file| told(file)).collect());
        let before = self.tables.get(&whole).map(|there| &there.definition);
        let columns = match columns::after(load, before, found) {
            Ok(columns) => columns,
            Err(why) => return failed("invalid", &why, vec![]),
        };
        let is_new = before.is_none() || load["writeDisposition"] == "WRITE_TRUNCATE" && partition.is_empty();
        let there = self.tables.entry(whole).or_default();
        let before = if partition.is_empty() {
            there.rows.values().sum()
        } else {
            there.rows.get(partition).copied().unwrap_or(0)
        };
        // https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.write_disposition
        match load["writeDisposition"].as_str() {
            Some("WRITE_EMPTY") if before > 0 => return failed("duplicate", "Already Exists: Table", vec![]),
            Some("WRITE_TRUNCATE") if partition.is_empty() => there.rows.clear(),
            Some("WRITE_TRUNCATE") => drop(there.rows.remove(partition)),
            _ => {}
        }
        *there.rows.entry(partition.to_owned()).or_default() += rows;
        if is_new {
            there.definition = load.clone();
        }
        there.definition["schema"] = json!({ "fields": columns });
        self.loads += 1;
        let bytes: usize = job.files.iter().map(Vec::len).sum();
        let statistics = json!({ "load": { "outputRows": rows.to_string(), "inputFileBytes": bytes.to_string() } });
        (json!({ "state": "DONE" }), statistics)
    }

    /// <https://cloud.google.com/bigquery/docs/reference/api-uploads#start-resumable>
    fn begin(
        &mut self,
        request: &Request,
        project: &str,
        job: Value,
        query: &BTreeMap<String, String>,
        base: &str,
    ) -> Reply {
        let total = request.header("x-upload-content-length").and_then(|length| length.parse().ok());
        let (Some(total), Some("resumable")) = (total, query.get("uploadType").map(String::as_str)) else {
            return refused(400, "invalid", "uploadType or X-Upload-Content-Length");
        };
        let id = self.sessions.len().to_string();
        let place = format!("{base}/upload/bigquery/v2/projects/{project}/jobs?uploadType=resumable&upload_id={id}");
        self.sessions.insert(id, Session { job, total, arrived: Vec::new() });
        Reply::new(200, "").with("Location", place)
    }

    /// <https://cloud.google.com/bigquery/docs/reference/api-uploads#resume-upload>
    fn piece(&mut self, request: &Request, project: &str, query: &BTreeMap<String, String>) -> Reply {
        let Some(session) = query.get("upload_id").and_then(|id| self.sessions.get_mut(id)) else {
            return refused(404, "notFound", "the session");
        };
        let range = request.header("content-range").and_then(|range| range.strip_prefix("bytes ")).unwrap_or_default();
        let Some((span, total)) = range.split_once('/').filter(|(_, total)| *total == session.total.to_string()) else {
            return refused(400, "invalid", "Content-Range");
        };
        if span != "*" {
            let (from, to) =
                span.split_once('-').map_or((0, 0), |(a, b)| (a.parse().unwrap_or(0), b.parse().unwrap_or(0)));
            let last = to + 1 == session.total;
            if from != session.arrived.len()
                || to + 1 - from != request.body.len()
                || !last && !request.body.len().is_multiple_of(PIECE)
            {
                return refused(400, "invalid", &format!("{span} of {total} with {} bytes", request.body.len()));
            }
            let kept = if std::mem::take(&mut self.half) {
                request.body.len() / 2 / PIECE * PIECE
            } else {
                request.body.len()
            };
            session.arrived.extend_from_slice(&request.body[..kept]);
        }
        if session.arrived.len() < session.total {
            let reply = Reply::new(308, "");
            return match session.arrived.len() {
                0 => reply,
                length => reply.with("Range", format!("bytes=0-{}", length - 1)),
            };
        }
        let (job, file) = (session.job.clone(), session.arrived.clone());
        let id = job["jobReference"]["jobId"].as_str().unwrap_or_default().to_owned();
        // Asked again after the end, the session answers with its job.
        match self.jobs.get(&id).filter(|there| span == "*" && there.body["configuration"] == job["configuration"]) {
            Some(there) => Reply::new(200, there.body.to_string()),
            None => self.insert(project, job, vec![file]),
        }
    }

    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query>: not complete at once.
    fn ask(&mut self, body: &Value) -> Reply {
        let sql = body["query"].as_str().unwrap_or_default();
        if self.kept.knows(sql) {
            match self.kept.ask(sql) {
                Ok(answer) => drop(self.answers.insert(sql.to_owned(), answer)),
                Err(why) => return refused(400, "invalidQuery", &why),
            }
        }
        if body["useLegacySql"] != false || !self.answers.contains_key(sql) {
            return refused(400, "invalidQuery", &format!("Syntax error: {sql}"));
        }
        if body["dryRun"] == true {
            return Reply::new(200, json!({ "jobComplete": true, "totalBytesProcessed": "4096" }).to_string());
        }
        let id: String = sql.bytes().map(|byte| format!("{byte:02x}")).collect();
        Reply::new(200, json!({ "jobComplete": false, "jobReference": { "jobId": id, "location": "EU" } }).to_string())
    }

    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults>, of a job that was inserted too. One that
    /// failed is answered with what it failed by.
    fn page(&mut self, id: &str, query: &BTreeMap<String, String>) -> Reply {
        let asked = |sql: &&String| sql.bytes().map(|byte| format!("{byte:02x}")).collect::<String>() == id;
        let (fields, rows) = match (self.jobs.get(id), self.answers.keys().find(asked)) {
            (Some(job), _) if job.body["status"]["state"] != "DONE" => {
                return Reply::new(200, json!({ "jobComplete": false }).to_string());
            }
            (Some(job), _) => match job.body["status"].get("errorResult") {
                Some(error) => return refused(400, error["reason"].as_str().unwrap(), &error.to_string()),
                None => &job.answer,
            },
            (None, Some(sql)) => &self.answers[sql],
            (None, None) => return refused(404, "notFound", "the query"),
        };
        let (page, asked) = (if self.page == 0 { PAGE } else { self.page }, query.get("maxResults"));
        let page = asked.map_or(page, |most| page.min(most.parse().unwrap()));
        let token = query.get("pageToken");
        let from: usize = token.map_or(0, |token| token.parse().unwrap());
        let total = rows.len() + std::mem::take(&mut self.missing);
        let micros = query.get("formatOptions.useInt64Timestamp").is_some_and(|stated| stated == "true");
        let row = |row: &Value| if micros { row.clone() } else { in_seconds(row, fields) };
        let mut body = json!({
            "jobComplete": true, "schema": { "fields": fields }, "totalRows": total.to_string(),
            "rows": rows[from..].iter().take(page).map(row).collect::<Vec<_>>(),
        });
        if from + page < rows.len() {
            body["pageToken"] = json!((from + page).to_string());
        }
        if token.is_none() && std::mem::take(&mut self.twice) {
            body["pageToken"] = json!("0");
        }
        if token.is_some() && self.stuck {
            body["pageToken"] = json!(token);
        }
        Reply::new(200, body.to_string())
    }

    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/get>
    fn table(&self, project: &str, dataset: &str, name: &str) -> Reply {
        let whole = format!("{project}.{dataset}.{name}");
        if let Some(table) = self.kept.look(&whole) {
            return Reply::new(200, table.to_string());
        }
        let Some(table) = self.tables.get(&whole) else {
            return refused(404, "notFound", &format!("Not found: Table {name}"));
        };
        let rows: u64 = table.rows.values().sum();
        let mut body = json!({ "numRows": rows.to_string(), "numBytes": (rows * 8).to_string() });
        for part in ["schema", "timePartitioning", "clustering"] {
            if let Some(value) = table.definition.get(part) {
                body[part] = value.clone();
            }
        }
        Reply::new(200, body.to_string())
    }
}

/// Moments as they come unless microseconds are asked for: seconds, as a number of 64 bits with a fraction.
/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/DataFormatOptions>
fn in_seconds(row: &Value, fields: &Value) -> Value {
    let mut row = row.clone();
    let cells = row["f"].as_array_mut().into_iter().flatten();
    for (cell, _) in cells.zip(fields.as_array().unwrap()).filter(|(_, field)| field["type"] == "TIMESTAMP") {
        if let Some(micros) = cell["v"].as_str().and_then(|text| text.parse::<f64>().ok()) {
            cell["v"] = json!(format!("{:E}", micros / 1e6));
        }
    }
    row
}

/// The columns of a Parquet file, as far as they matter here.
fn told(file: &[u8]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.parquet");
    std::fs::write(&path, file).unwrap();
    let mode = |nullable| if nullable { "NULLABLE" } else { "REQUIRED" };
    let fields = flow_data::read_parquet_fields(&path).unwrap();
    fields.iter().map(|field| json!({ "name": field.name, "mode": mode(field.nullable) })).collect()
}

/// The rows of a file, or what is wrong with them.
fn count(load: &Value, file: &[u8]) -> Result<u64, Vec<Value>> {
    let wrong = |message: &str| vec![json!({ "reason": "invalid", "message": message, "location": "file-00000000" })];
    match load["sourceFormat"].as_str() {
        Some("PARQUET") => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f.parquet");
            std::fs::write(&path, file).unwrap();
            let there = flow_data::read_parquet_fields(&path).map_err(|e| wrong(&e.to_string()))?;
            // https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet: columns are found by name.
            let stated = load["schema"]["fields"].as_array().into_iter().flatten();
            let missing = stated.map(|field| &field["name"]).find(|name| !there.iter().any(|c| *name == &c.name));
            if let Some(missing) = missing {
                return Err(wrong(&format!("Field {missing} is missing")));
            }
            let database = format!("sqlite://{}", folder.path().join("count.db").display());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let loaded = runtime.block_on(flow_data::load_parquet(&database, "t", &path, "s", &()));
            loaded.map(|loaded| loaded.rows).map_err(|e| wrong(&e.to_string()))
        }
        Some("CSV") => {
            let text = String::from_utf8_lossy(file);
            let fields = load["schema"]["fields"].as_array().cloned().unwrap_or_default();
            let mut errors = Vec::new();
            let mut rows = 0;
            for (n, line) in text.lines().enumerate().skip(1) {
                rows += 1;
                for (field, cell) in fields.iter().zip(line.split(',')) {
                    if field["type"] == "INTEGER" && !cell.is_empty() && cell.parse::<i64>().is_err() {
                        let message =
                            format!("Could not parse '{cell}' as INT64 for field {} (row {n})", field["name"]);
                        errors.extend(wrong(&message));
                    }
                }
            }
            if errors.is_empty() { Ok(rows) } else { Err(errors) }
        }
        Some("NEWLINE_DELIMITED_JSON") => {
            let text = String::from_utf8_lossy(file);
            let parsed = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>();
            parsed.map(|rows| rows.len() as u64).map_err(|e| wrong(&e.to_string()))
        }
        _ => Err(wrong("sourceFormat")),
    }
}

/// <https://cloud.google.com/bigquery/docs/error-messages>
pub fn refused(status: u16, reason: &str, message: &str) -> Reply {
    let error = json!({ "code": status, "message": message, "errors": [{ "reason": reason, "message": message }] });
    Reply::new(status, json!({ "error": error }).to_string())
}
