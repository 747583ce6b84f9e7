//! What a load may do to the columns of a table: <https://cloud.google.com/bigquery/docs/managing-table-schemas>.

use serde_json::{Value, json};

/// The columns that a table has after a load: `there` are those of before, if it is there, and `found` those of a file that says
/// them itself. Otherwise why it is refused.
pub fn after(load: &Value, there: Option<&Value>, found: Option<Vec<Value>>) -> Result<Vec<Value>, String> {
    let list = |of: &Value| of["schema"]["fields"].as_array().cloned();
    let before = there.and_then(list).unwrap_or_default();
    let stated = list(load);
    let Some(fields) = stated.or(found) else {
        // "The schema can be omitted if the destination table already exists":
        // https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.schema
        return if there.is_some() { Ok(before) } else { Err("No schema specified on job or table.".into()) };
    };
    let partition = load["destinationTable"]["tableId"].as_str().is_some_and(|table| table.contains('$'));
    // "WRITE_TRUNCATE: If the table already exists, BigQuery overwrites the data, removes the constraints, and uses the schema from the
    // load job": https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.write_disposition
    if there.is_none() || load["writeDisposition"] == "WRITE_TRUNCATE" && !partition {
        return Ok(fields);
    }
    // https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.schema_update_options
    let allowed = |update: &str| load["schemaUpdateOptions"].as_array().is_some_and(|all| all.contains(&json!(update)));
    let mut after = before;
    for field in fields {
        let name = field["name"].as_str().unwrap();
        let refused = |why: &str| Err(format!("Provided Schema does not match Table. {why} (field: {name})"));
        let same = |old: &&mut Value| old["name"].as_str().unwrap().eq_ignore_ascii_case(name);
        let Some(old) = after.iter_mut().find(same) else {
            match (allowed("ALLOW_FIELD_ADDITION"), field["mode"] == "REQUIRED") {
                (false, _) => return refused("Cannot add fields"),
                // "You cannot add a REQUIRED column to an existing table schema":
                // https://cloud.google.com/bigquery/docs/managing-table-schemas#adding_columns_to_a_tables_schema_definition
                (true, true) => return refused("Cannot add required fields to an existing schema"),
                (true, false) => after.push(field),
            }
            continue;
        };
        if old["type"] != field["type"] {
            return refused(&format!("Field has changed type from {} to {}", old["type"], field["type"]));
        }
        // A column is relaxed, and never the other way: https://cloud.google.com/bigquery/docs/managing-table-schemas#change_a_columns_mode
        match (old["mode"].as_str(), field["mode"].as_str()) {
            (old, new) if old == new => {}
            (Some("REQUIRED"), Some("NULLABLE")) if allowed("ALLOW_FIELD_RELAXATION") => {
                old["mode"] = json!("NULLABLE")
            }
            (old, new) => return refused(&format!("Field has changed mode from {old:?} to {new:?}")),
        }
    }
    Ok(after)
}
