//! `xcom`: what a task returned.

use super::app::App;
use super::args::Xcom;
use super::exit::{CliError, Exit, Result};
use super::{describe, lookup, pretty, session};
use crate::executor::read_value;
use crate::secret;
use crate::store::{CauseKind, InstanceRow, RETURN_VALUE, StoredRun, XComFilter, XComRow};
use serde_json::Value;

/// Prints the value; of a mapped task that of one instance, or all of them, one a line.
pub fn xcom(app: &App, args: &Xcom) -> Result {
    let (stored, rows, values) = session::block_on(async { found(app, args).await })?;
    let rows: Vec<&InstanceRow> = rows.iter().collect();
    let all = args.map_index.is_none() && rows.iter().any(|row| row.map_index >= 0);
    let out = &app.out;
    if all {
        let values = values.iter().map(|v| Ok((v, text(app, v)?))).collect::<Result<Vec<_>>>()?;
        if out.json {
            let list = values.iter().map(|(row, text)| Ok(describe::xcom(&stored, row, parsed(text)?)));
            out.json_pretty(&list.collect::<Result<Vec<_>>>()?);
        } else {
            values.iter().for_each(|(row, text)| out.line(format!("[{}] {text}", row.map_index)));
        }
        return Ok(Exit::Success);
    }
    let instance = lookup::instance(&rows, args.map_index)?;
    let succeeded = instance.state == flow_core::TaskState::Success;
    let Some(value) = values.iter().find(|v| succeeded && v.map_index == instance.map_index) else {
        let why = match &instance.cause {
            Some(cause) if succeeded && cause.kind == CauseKind::Marked => cause.message.as_str(),
            _ if succeeded => "it returned nothing",
            _ => "it has not succeeded",
        };
        return Err(CliError::input(format!("task `{}` has no value: {why}", instance.task_id)).hint(format!(
            "its state is {}; see `{}`",
            instance.state,
            app.command(&["tasks", &stored.run.run_id])
        )));
    };
    let text = text(app, value)?;
    if out.json {
        out.json_pretty(&describe::xcom(&stored, value, parsed(&text)?));
    } else {
        out.line(pretty::json(&parsed(&text)?, out.width));
    }
    Ok(Exit::Success)
}

async fn found(app: &App, args: &Xcom) -> Result<(StoredRun, Vec<InstanceRow>, Vec<XComRow>)> {
    let store = app.store_to_read().await?;
    let stored = lookup::run(app, store.as_deref(), &args.run).await?;
    let Some(store) = store else { return Err(lookup::no_runs(app, None)) };
    let rows = store.instances(stored.pk).await?;
    let dag = store.dag_version(&stored.dag_version).await?;
    let rows = lookup::task(&rows, &args.task, Some(&dag))?
        .into_iter()
        .filter(|r| r.state != flow_core::TaskState::Removed)
        .cloned()
        .collect();
    let values = store.xcoms(stored.pk, XComFilter::of_task(&args.task)).await?;
    store.close().await;
    Ok((stored, rows, values.into_iter().filter(|v| v.key == RETURN_VALUE).collect()))
}

/// The JSON text, without secrets (none should be there).
fn text(app: &App, row: &XComRow) -> Result<String> {
    let text = read_value(&app.config.home, &row.value).map_err(|e| CliError::outside(e.to_string()))?;
    Ok(secret::redact(&text).into_owned())
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| CliError::outside(format!("the stored value is not JSON: {e}")))
}
