//! Files into tables, once.

use std::sync::Mutex;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::call::number;
use super::job::{Done, Wanted};
use super::table::{Named, exact, fields};
use super::{BigQuery, Format, LoadJob, LoadOptions, LoadSource, Write};
use crate::files::{fingerprint, hex};
use crate::progress::while_wanted;
use crate::{ColumnType, Error, Progress, Result};

impl BigQuery {
    /// Loads files into a table (`dataset.table`, `project.dataset.table`, or one partition of it: `dataset.table$20210101`).
    /// All rows appear in one instant, or none.
    ///
    /// **Once.** `job_id` names the load: the run, the task and the date, say; letters, digits, `-` and `_`. BigQuery knows each
    /// id once. A call that is repeated, by whomever and after whatever crash, finds the job of the earlier one and waits
    /// for it; a job that succeeded is not done again. Only after a job that failed the next is submitted, as `ID-2`,
    /// `ID-3` .. The same id for another load (other files, table or options) is an error.
    ///
    /// A load that is cancelled leaves a submitted job running. `progress` counts the bytes of a local file.
    ///
    /// # Errors
    /// [`Error::Database`] with the job's list of errors, when the data or the options are refused or BigQuery cannot be reached;
    /// [`Error::Conflict`] for an id that is another load's; [`Error::Invalid`] for an argument that makes no sense;
    /// [`Error::Io`].
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn load(
        &self,
        source: LoadSource<'_>,
        table: &str,
        job_id: &str,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<LoadJob> {
        while_wanted(progress, self.loaded(source, table, job_id, options, progress)).await
    }

    async fn loaded(
        &self,
        source: LoadSource<'_>,
        table: &str,
        job_id: &str,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<LoadJob> {
        let table = self.named(table)?;
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if job_id.is_empty() || job_id.len() > 1_000 || !job_id.chars().all(valid) {
            return Err(Error::Invalid(format!("`{job_id}` is no id of a job: use letters, digits, `-` and `_`")));
        }
        let configuration = configuration(source, &table, options).await?;
        let file = match source {
            LoadSource::File(path) => Some((path, progress)),
            LoadSource::Objects(_) => None,
        };
        let Done { id, job, reused } =
            self.once_done(job_id, Wanted { configuration: &configuration, file, at_work: &Mutex::default() }).await?;
        let load = &job["statistics"]["load"];
        let loaded = LoadJob {
            job: id,
            table: table.to_string(),
            rows: self.counted(&job, &load["outputRows"], "outputRows")?,
            bytes: number(&load["inputFileBytes"]).unwrap_or(0),
            reused,
        };
        tracing::info!(rows = loaded.rows, bytes = loaded.bytes, job = loaded.job, "loaded {}", loaded.table);
        Ok(loaded)
    }

    /// Is this job the load that was asked for?
    pub(super) fn is_same(&self, id: &str, job: &Value, configuration: &Value) -> Result<()> {
        let label = |of: &Value| of["labels"][LABEL].as_str().map(str::to_owned);
        // An emulator may keep no labels.
        match (label(&job["configuration"]), label(configuration)) {
            (Some(there), Some(own)) if there != own => Err(Error::Conflict {
                url: self.about(id),
                message: "the job of this id loads other files, another table or with other options: use another id"
                    .into(),
            }),
            _ => Ok(()),
        }
    }
}

/// BigQuery takes names of objects as they are; in our URLs they are escaped.
fn decoded(url: &str) -> String {
    percent_decode_str(url).decode_utf8_lossy().into_owned()
}

/// The label under which a job's purpose is kept.
const LABEL: &str = "flow_load";

/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad>
async fn configuration(source: LoadSource<'_>, table: &Named, options: &LoadOptions) -> Result<Value> {
    let format = match options.format {
        Format::Parquet => "PARQUET",
        Format::Csv => "CSV",
        Format::JsonLines => "NEWLINE_DELIMITED_JSON",
    };
    let write = match options.write {
        Write::Append => "WRITE_APPEND",
        Write::Replace => "WRITE_TRUNCATE",
        Write::IfEmpty => "WRITE_EMPTY",
    };
    let mut load = json!({
        "destinationTable": table.reference(),
        "sourceFormat": format,
        "writeDisposition": write,
        "createDisposition": if options.only_existing { "CREATE_NEVER" } else { "CREATE_IF_NEEDED" },
    });
    let content = match source {
        LoadSource::Objects(urls) => {
            if urls.is_empty() || !urls.iter().all(|url| url.starts_with("gs://")) {
                return Err(Error::Invalid(format!(
                    "BigQuery loads objects of gs://, and a local file as such: {urls:?}"
                )));
            }
            load["sourceUris"] = json!(urls.iter().map(|url| decoded(url)).collect::<Vec<_>>());
            String::new()
        }
        LoadSource::File(path) => fingerprint(path).await?.1,
    };
    if options.format == Format::Csv {
        load["skipLeadingRows"] = json!(1);
        load["allowQuotedNewlines"] = json!(true);
    }
    if let Some(fields) = &options.fields {
        load["schema"] = json!({ "fields": exact(fields)? });
        if fields.iter().any(|field| matches!(field.kind, ColumnType::List(_))) {
            load["parquetOptions"] = json!({ "enableListInference": true });
        }
    } else if let Some(schema) = &options.schema {
        load["schema"] = json!({ "fields": fields(schema, options.format)? });
    }
    if let Some(partition) = &options.partition {
        if !matches!(partition.by.as_str(), "HOUR" | "DAY" | "MONTH" | "YEAR") {
            return Err(Error::Invalid(format!(
                "`{}` is no span of a partition: HOUR, DAY, MONTH or YEAR",
                partition.by
            )));
        }
        load["timePartitioning"] = json!({ "type": partition.by });
        if let Some(column) = &partition.column {
            load["timePartitioning"]["field"] = json!(column);
        }
    }
    if !options.cluster.is_empty() {
        load["clustering"] = json!({ "fields": options.cluster });
    }
    let mut updates = Vec::new();
    updates.extend(options.add_columns.then_some("ALLOW_FIELD_ADDITION"));
    updates.extend(options.relax_columns.then_some("ALLOW_FIELD_RELAXATION"));
    if !updates.is_empty() {
        let allowed = options.write == Write::Append || options.write == Write::Replace && table.has_partition();
        if !allowed {
            return Err(Error::Invalid(
                "columns are added by an append, or with the replacement of one partition (`dataset.table$20210101`)"
                    .into(),
            ));
        }
        load["schemaUpdateOptions"] = json!(updates);
    }
    let purpose = hex(&Sha256::digest(format!("{load}{content}")));
    Ok(json!({ "load": load, "labels": { LABEL: purpose[..40] } }))
}
