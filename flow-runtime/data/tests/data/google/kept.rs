//! Tables of the fake that hold their rows, in a SQLite file; statements are run there as they are, but for what the two
//! languages write in different ways.

use std::collections::BTreeMap;

use base64::Engine;
use flow_data::Answer;
use serde_json::{Value, json};

use super::jobs::refused;
use crate::server::Reply;

#[derive(Default)]
pub struct Kept {
    folder: Option<tempfile::TempDir>,
    tables: BTreeMap<String, Value>,
}

impl Kept {
    pub fn names(&self) -> Vec<&str> {
        self.tables.keys().map(String::as_str).collect()
    }

    pub fn has(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Is one of the tables spoken of?
    pub fn knows(&self, sql: &str) -> bool {
        self.tables.keys().any(|table| sql.contains(table.as_str()))
    }

    pub fn rows(&self, table: &str) -> u64 {
        self.run(&format!("SELECT count(*) FROM `{table}`")).unwrap().first().and_then(Value::as_u64).unwrap()
    }

    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/insert>
    pub fn create(&mut self, project: &str, dataset: &str, body: Value) -> Reply {
        let name = body["tableReference"]["tableId"].as_str().unwrap_or_default();
        let whole = format!("{project}.{dataset}.{name}");
        self.folder.get_or_insert_with(|| tempfile::tempdir().unwrap());
        if self.has(&whole) {
            return refused(409, "duplicate", &format!("Already Exists: Table {whole}"));
        }
        let fields = body["schema"]["fields"].as_array().cloned().unwrap_or_default();
        let column = |field: &Value| {
            let required = if field["mode"] == "REQUIRED" { " NOT NULL" } else { "" };
            format!("`{}` {}{required}", field["name"].as_str().unwrap(), affinity(&field["type"]))
        };
        let columns: Vec<_> = fields.iter().map(column).collect();
        self.run(&format!("CREATE TABLE `{whole}` ({})", columns.join(", "))).unwrap();
        self.tables.insert(whole, body.clone());
        Reply::new(200, body.to_string())
    }

    /// <https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/delete>: an empty answer.
    pub fn delete(&mut self, table: &str) -> Reply {
        if self.tables.remove(table).is_none() {
            return refused(404, "notFound", &format!("Not found: Table {table}"));
        }
        self.run(&format!("DROP TABLE `{table}`")).unwrap();
        Reply::new(204, "")
    }

    /// The table as the API tells it.
    pub fn look(&self, table: &str) -> Option<Value> {
        let mut body = self.tables.get(table)?.clone();
        body["numRows"] = json!(self.rows(table).to_string());
        body["numBytes"] = json!("8");
        Some(body)
    }

    /// Adds the rows of a Parquet file.
    pub fn load(&self, table: &str, file: &[u8]) -> Result<(), String> {
        let folder = self.folder.as_ref().unwrap();
        let path = folder.path().join("arrived.parquet");
        std::fs::write(&path, file).unwrap();
        let fields = flow_data::read_parquet_fields(&path).unwrap();
        let names: Vec<_> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
        // A list that is null becomes one that is empty: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_nulls
        let values = fields.iter().map(|field| match &field.kind {
            flow_data::ColumnType::List(_) => format!("coalesce(`{}`, '[]')", field.name),
            _ => format!("`{}`", field.name),
        });
        let (names, values) = (names.join(", "), values.collect::<Vec<_>>().join(", "));
        let loaded = block_on(flow_data::load_parquet(&self.url(), "arrived", &path, "s", &()));
        loaded.map_err(|e| e.to_string())?;
        self.run(&format!("INSERT INTO `{table}` ({names}) SELECT {values} FROM arrived; DROP TABLE arrived")).map(drop)
    }

    /// Columns and rows, as the API tells them; moments in microseconds. A column that is called as one of a table that is spoken
    /// of is that column.
    pub fn ask(&self, sql: &str) -> Result<(Value, Vec<Value>), String> {
        let mut answer = self.run(&translated(sql))?;
        let spoken = self.tables.iter().filter(|(name, _)| sql.contains(name.as_str()));
        let known: Vec<_> =
            spoken.flat_map(|(_, table)| table["schema"]["fields"].as_array().unwrap().iter().cloned()).collect();
        if answer.rows.is_empty() && sql.starts_with("SELECT * FROM `") {
            answer.columns = known.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect();
        }
        let kind = |n: usize| match answer.rows.first().map(|row| &row[n]) {
            Some(Value::Number(number)) if number.is_i64() => "INTEGER",
            Some(Value::Number(_)) => "FLOAT",
            _ => "STRING",
        };
        let field = |(n, name): (usize, &String)| match known.iter().find(|field| field["name"] == *name) {
            Some(field) => field.clone(),
            None => json!({ "name": name, "type": kind(n), "mode": "NULLABLE" }),
        };
        let fields: Vec<_> = answer.columns.iter().enumerate().map(field).collect();
        let cells = |row: &Vec<Value>| row.iter().zip(&fields).map(|(value, field)| told(value, field)).collect();
        let rows = answer.rows.iter().map(|row| json!({ "f": Value::Array(cells(row)) })).collect();
        Ok((fields.into(), rows))
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.folder.as_ref().unwrap().path().join("kept.db").display())
    }

    fn run(&self, sql: &str) -> Result<Answer, String> {
        block_on(flow_data::execute(&self.url(), sql)).map_err(|e| e.to_string())
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A value of SQLite as the API tells it: <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults>.
fn told(value: &Value, field: &Value) -> Value {
    if field["mode"] == "REPEATED" {
        let items: Vec<Value> = serde_json::from_str(value.as_str().unwrap_or("[]")).unwrap();
        let of = json!({ "type": field["type"] });
        return json!({ "v": items.iter().map(|item| told(item, &of)).collect::<Vec<_>>() });
    }
    let text = match value {
        Value::Null => return json!({ "v": null }),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let told = match field["type"].as_str().unwrap() {
        "BOOLEAN" => (text == "1" || text == "true").to_string(),
        "BYTES" => {
            // A UUID is nothing else to it.
            let digits: Vec<_> = text.trim_start_matches("\\x").chars().filter(|c| *c != '-').collect();
            let byte = |two: &[char]| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap();
            base64::prelude::BASE64_STANDARD.encode(digits.chunks(2).map(byte).collect::<Vec<_>>())
        }
        // No zeros at the end.
        "NUMERIC" | "BIGNUMERIC" if text.contains('.') => text.trim_end_matches('0').trim_end_matches('.').into(),
        "DATETIME" => text.replacen(' ', "T", 1),
        "TIMESTAMP" => match chrono::DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%:z") {
            Ok(moment) => moment.timestamp_micros().to_string(),
            // SQLite's own clock.
            Err(_) => text,
        },
        _ => text,
    };
    json!({ "v": told })
}

fn affinity(kind: &Value) -> &'static str {
    match kind.as_str().unwrap() {
        "INTEGER" | "BOOLEAN" => "INTEGER",
        "FLOAT" => "REAL",
        _ => "TEXT",
    }
}

/// Statements are run in one transaction, so that theirs goes; a text has other escapes:
/// <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences>.
fn translated(sql: &str) -> String {
    let (mut out, mut within, mut letters) = (String::new(), false, sql.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if within => match letters.next() {
                Some('n') => out.push('\n'),
                Some('\'') => out.push_str("''"),
                Some(other) => out.push(other),
                None => {}
            },
            '\'' => {
                within = !within;
                out.push(letter);
            }
            _ => out.push(letter),
        }
    }
    out.replace("BEGIN TRANSACTION;", "").replace("COMMIT TRANSACTION;", "").replace(" AS FLOAT64)", " AS REAL)")
}
