//! The rows of a query that has run, page by page, however many they are.

use serde::Deserialize;
use serde_json::Value;

use super::BigQuery;
use super::call::number;
use super::job::Done;
use crate::{Error, Result};

/// The most rows of one page. BigQuery ends a page by itself before it has 20 MB:
/// <https://cloud.google.com/bigquery/docs/paging-results>.
const PAGE: usize = 10_000;

/// What a query has given. BigQuery keeps it for a day, and it does not change:
/// <https://cloud.google.com/bigquery/docs/writing-results#temporary_and_permanent_tables>.
pub(crate) struct Pages {
    client: BigQuery,
    job: String,
    location: Option<String>,
    /// The columns, as BigQuery writes them.
    pub(crate) fields: Vec<Value>,
    /// How many rows there are.
    pub(crate) total: u64,
    seen: u64,
    /// The page after the one that was read last.
    token: Option<String>,
    /// Rows that came along with the columns.
    first: Option<Vec<Row>>,
}

/// A page: <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults>. It is kept small: a map for each value
/// would take many times what the value does.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Page {
    schema: Value,
    total_rows: Value,
    page_token: Option<String>,
    rows: Vec<Row>,
}

/// A row: `{"f": [{"v": ..}]}`.
#[derive(Deserialize)]
pub(crate) struct Row {
    #[serde(rename = "f", default)]
    pub(crate) cells: Vec<Cell>,
}

/// A value of a row.
#[derive(Deserialize)]
pub(crate) struct Cell {
    #[serde(rename = "v", default)]
    pub(crate) value: Value,
}

impl BigQuery {
    /// The rows of a query that has ended well.
    pub(crate) async fn pages(&self, done: &Done) -> Result<Pages> {
        let location = done.job["jobReference"]["location"].as_str().map(str::to_owned);
        let mut pages = Pages {
            client: self.clone(),
            job: done.id.clone(),
            location: location.or_else(|| self.location.clone()),
            fields: Vec::new(),
            total: 0,
            seen: 0,
            token: None,
            first: None,
        };
        let page = pages.ask(None).await?;
        pages.fields = page.schema["fields"].as_array().cloned().unwrap_or_default();
        pages.total =
            number(&page.total_rows).ok_or_else(|| pages.broken("it does not tell its `totalRows`".into()))?;
        pages.token = page.page_token.filter(|token| !token.is_empty());
        pages.first = Some(page.rows);
        Ok(pages)
    }
}

impl Pages {
    /// The rows of the next page. `None`: that were all, and as many as were told.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Row>>> {
        let rows = match (self.first.take(), self.token.take()) {
            (Some(first), then) => {
                self.token = then;
                first
            }
            (None, None) if self.seen == self.total => return Ok(None),
            (None, None) => {
                return Err(self.broken(format!("it has told of {} rows, and sent {}", self.total, self.seen)));
            }
            (None, Some(asked)) => {
                let page = self.ask(Some(&asked)).await?;
                self.token = page.page_token.filter(|token| !token.is_empty());
                if self.token.as_ref() == Some(&asked) {
                    return Err(self.broken(format!("the page after row {} is to come again and again", self.seen)));
                }
                page.rows
            }
        };
        self.seen += rows.len() as u64;
        if self.seen > self.total {
            let message = format!("it has told of {} rows, and sent more: a page came twice", self.total);
            return Err(self.broken(message));
        }
        Ok(Some(rows))
    }

    async fn ask(&self, token: Option<&str>) -> Result<Page> {
        let at = self.client.at(&format!("queries/{}", self.job));
        let request = || {
            let request = self.client.client.get(&at).query(&[("maxResults", PAGE)]).query(&[MOMENTS]);
            let request = request.query(&self.location.iter().map(|l| ("location", l)).collect::<Vec<_>>());
            request.query(&token.iter().map(|t| ("pageToken", t)).collect::<Vec<_>>())
        };
        self.client.get(&self.job, &request).await
    }

    /// Rows that are not those of the query. The next try may have the right ones.
    fn broken(&self, message: String) -> Error {
        Error::Database { url: self.client.about(&self.job), message, permanent: false }
    }
}

/// Moments come as whole microseconds, all of which a fraction of seconds cannot hold:
/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/DataFormatOptions>.
pub(super) const MOMENTS: (&str, &str) = ("formatOptions.useInt64Timestamp", "true");
