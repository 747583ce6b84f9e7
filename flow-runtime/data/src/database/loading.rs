//! A load on its way, and what is seen to of it whatever the database.

use super::drift::Drift;
use super::feed::Batches;
use super::warehouse::{LoadReport, Mode, TableLoadOptions};
use super::{Kind, table};
use crate::redact::redact;
use crate::{Error, Field, Progress, Result};

/// A load, looked at as far as that goes without the database.
pub(super) struct Job<'a> {
    pub(super) url: &'a str,
    kind: Kind,
    pub(super) table: &'a str,
    pub(super) batches: Batches,
    pub(super) options: &'a TableLoadOptions,
    /// What is loaded: the file's columns, and the one that it lacks.
    pub(super) fields: Vec<Field>,
    /// The value of the column that the file lacks, which is the last of `fields`.
    pub(super) fill: Option<&'a str>,
    pub(super) progress: &'a dyn Progress,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        url: &'a str,
        kind: Kind,
        table: &'a str,
        batches: Batches,
        options: &'a TableLoadOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let mut fields = batches.fields.clone();
        let mut fill = None;
        match &options.mode {
            Mode::Append | Mode::Replace => {}
            Mode::Upsert(key) => {
                if key.is_empty() {
                    return Err(Error::Invalid("an upsert needs at least one key column".into()));
                }
                if let Some(name) = key.iter().find(|name| !fields.iter().any(|f| f.name == **name)) {
                    let message = format!("the file has no column `{name}`, which the upsert is keyed by");
                    return Err(Error::columns(batches.path.display().to_string(), message));
                }
            }
            Mode::Partition { column, value } => {
                if value.contains('\0') {
                    return Err(Error::Invalid("the value of a partition holds a zero byte".into()));
                }
                if !fields.iter().any(|f| f.name == *column) {
                    fill = Some(value.as_str());
                    let kind = crate::ColumnType::Text;
                    fields.push(Field { name: column.clone(), kind, nullable: false });
                }
            }
        }
        table::check_columns(&fields)?;
        if fields.is_empty() {
            return Err(Error::columns(batches.path.display().to_string(), "the file has no columns"));
        }
        if !matches!(kind, Kind::Postgres) {
            table::check_apart(&batches.path.display().to_string(), &fields)?;
        }
        Ok(Self { url, kind, table, batches, options, fields, fill, progress })
    }

    /// What to take turns for, when it is not the key.
    pub(super) fn turn(&self) -> Option<String> {
        match &self.options.mode {
            Mode::Append => None,
            Mode::Replace | Mode::Upsert(_) => Some("all".into()),
            Mode::Partition { column, value } => Some(format!("partition {column}\0{value}")),
        }
    }

    /// A report of what was done now.
    pub(super) fn report(&self, rows: u64, replaced: u64, updated: u64, repeated: bool) -> LoadReport {
        let (url, table, key) = (redact(self.url), self.table.to_owned(), self.options.key.clone());
        LoadReport { url, table, rows, replaced, updated, key, repeated }
    }

    /// Refuses to go on when other rows arrived than were sent.
    pub(super) fn check_rows(&self, sent: u64, arrived: u64) -> Result<()> {
        if sent == arrived {
            return Ok(());
        }
        let message = format!("{sent} rows were sent and {arrived} arrived; nothing was changed");
        if let Kind::BigQuery = self.kind {
            return Err(Error::Database { url: redact(self.url), message, permanent: false });
        }
        let mut causes = Vec::new();
        if self.batches.is_raw {
            causes.push("a line `\\.` in the file, which ends what Postgres reads (load it parsed)");
        }
        causes.push("a trigger or a rule of the table that adds rows or keeps them out");
        let message = format!("{message}. Most likely because of {}", causes.join(", or "));
        Err(Error::Database { url: redact(self.url), message, permanent: true })
    }

    /// The same after an upsert. `doubled`: a key that the table has more than once, if there is one.
    pub(super) fn check_upserted(
        &self,
        sent: u64,
        arrived: u64,
        doubled: Option<String>,
        key: &[String],
    ) -> Result<()> {
        let Some(doubled) = doubled else { return self.check_rows(sent, arrived) };
        let message = format!(
            "the table has the key ({}) = {doubled} more than once, and an upsert must find one row; nothing was changed. Remove \
             the rows that are too many, or load by a key that is one",
            key.join(", ")
        );
        Err(Error::Database { url: redact(self.url), message, permanent: true })
    }

    /// Refuses rows that a second load of the partition would not find.
    pub(super) fn check_others(&self, others: u64, column: &str, value: &str) -> Result<()> {
        self.refuse(others > 0, || format!("{others} rows have another `{column}` than `{value}`, the partition's"))
    }

    /// Refuses keys that are equal to none.
    pub(super) fn check_null_keys(&self, nulls: u64, key: &[String]) -> Result<()> {
        self.refuse(nulls > 0, || format!("{nulls} rows have no value in the key ({})", key.join(", ")))
    }

    /// Refuses a key of which it is not clear what it should be in the end.
    pub(super) fn check_twice(&self, twice: Option<String>, key: &[String]) -> Result<()> {
        let shown = twice.clone().unwrap_or_default();
        self.refuse(twice.is_some(), || format!("the key ({}) = {shown} comes more than once", key.join(", ")))
    }

    fn refuse(&self, wrong: bool, message: impl FnOnce() -> String) -> Result<()> {
        if wrong { Err(Error::format(&self.batches.path, message())) } else { Ok(()) }
    }

    /// Refuses a table that does not fit.
    pub(super) fn check_drift(&self, drift: &Drift) -> Result<()> {
        if drift.stops() {
            let message = format!("it does not fit the file{}", drift.lines());
            return Err(Error::columns(format!("table {}", self.table), message));
        }
        let nulls = drift.nulls();
        if !nulls.is_empty() {
            let names: Vec<_> = nulls.iter().map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            let rows = match self.options.mode {
                // One that is there keeps its value.
                Mode::Upsert(_) => "rows that are new",
                _ => "every row that is loaded",
            };
            tracing::warn!("the file lacks {names} of table {}: null in {rows}", self.table);
        }
        if drift.differences.len() > nulls.len() {
            tracing::info!("{drift}");
        }
        Ok(())
    }
}
