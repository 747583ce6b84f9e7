//! `flow.toml`, read by hand so that every complaint has its line.

use super::connections::Stated;
use super::{A_LEASE, A_SIZE, ADDRESS, Config, ConfigError, SHORTEST_LEASE, address, log_level, log_levels, size};
use crate::notify::Channel;
use crate::secret::Secret;
use crate::store::Durability;
use crate::suggest;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    home: Option<PathBuf>,
    parallelism: Option<usize>,
    grace: Option<Duration>,
    task_memory: Option<u64>,
    durability: Option<Durability>,
    postgres: Option<Secret<String>>,
    lease: Option<Duration>,
    paused_at_creation: Option<bool>,
    pools: BTreeMap<String, u32>,
    params: Map<String, Value>,
    dag_params: BTreeMap<String, Map<String, Value>>,
    log_level: Option<String>,
    notifiers: BTreeMap<String, Channel>,
    connections: Vec<Stated>,
}

impl File {
    pub(super) fn merge_into(self, config: &mut Config, folder: &Path) {
        if let Some(home) = self.home {
            config.home = folder.join(home);
        }
        config.parallelism = self.parallelism.unwrap_or(config.parallelism);
        config.grace = self.grace.unwrap_or(config.grace);
        config.task_memory = self.task_memory.or(config.task_memory);
        config.durability = self.durability.unwrap_or(config.durability);
        config.postgres = self.postgres;
        config.lease = self.lease.unwrap_or(config.lease);
        config.paused_at_creation = self.paused_at_creation.unwrap_or(config.paused_at_creation);
        config.log_level = self.log_level.unwrap_or(std::mem::take(&mut config.log_level));
        config.pools = self.pools;
        config.notifiers = self.notifiers;
        config.params = self.params;
        config.dag_params = self.dag_params;
    }
}

/// Reads a file and checks every key. The connections are to be filled in from the environment.
pub(super) fn read(path: &Path) -> Result<(File, Vec<Stated>), ConfigError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| ConfigError(vec![format!("{shown} cannot be read: {e}")]))?;
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(&text).map_err(|e| {
        let at = e.span().map_or(1, |span| line(span.start));
        ConfigError(vec![format!("{shown}:{at}: {}", e.message().replace('\n', ", "))])
    })?;
    let mut reader = Reader { problems: Vec::new() };
    let mut file = reader.root(table.get_ref());
    if reader.problems.is_empty() {
        let connections = std::mem::take(&mut file.connections);
        return Ok((file, connections));
    }
    reader.problems.sort();
    Err(ConfigError(reader.problems.into_iter().map(|(at, why)| format!("{shown}:{}: {why}", line(at))).collect()))
}

pub(super) struct Reader {
    /// Byte offset, and what is wrong there.
    pub(super) problems: Vec<(usize, String)>,
}

pub(super) type Entry<'a, 'i> = &'a Spanned<DeValue<'i>>;

const ROOT: [&str; 14] = [
    "home",
    "parallelism",
    "grace",
    "task_memory",
    "durability",
    "database",
    "lease",
    "paused_at_creation",
    "pools",
    "params",
    "dags",
    "notifiers",
    "connections",
    "log",
];

impl Reader {
    fn root(&mut self, table: &DeTable<'_>) -> File {
        let mut file = File::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "home" => file.home = self.text("home", value).map(PathBuf::from),
                "parallelism" => file.parallelism = self.count("parallelism", value).map(|n| n as usize),
                "grace" => {
                    let text = self.text("grace", value);
                    file.grace = text.and_then(|text| match flow_core::parse::duration(&text) {
                        Ok(grace) => Some(grace),
                        Err(_) => self.wrong("grace", value, &format!("`{text}`"), "a length of time like `10s`"),
                    });
                }
                "task_memory" => file.task_memory = self.one_of("task_memory", value, A_SIZE, size),
                "durability" => {
                    file.durability = self.one_of("durability", value, "`process` or `power`", Durability::from_name);
                }
                "database" => {
                    let text = self.text("database", value);
                    // What it is instead is not told: it may hold a password.
                    file.postgres = text.and_then(|text| {
                        address(&text).or_else(|| self.wrong("database", value, "another address", ADDRESS))
                    });
                }
                "lease" => {
                    let length = |text: &str| flow_core::parse::duration(text).ok().filter(|l| *l >= SHORTEST_LEASE);
                    file.lease = self.one_of("lease", value, A_LEASE, length);
                }
                "paused_at_creation" => {
                    file.paused_at_creation = match value.get_ref().as_bool() {
                        Some(paused) => Some(paused),
                        None => self.wrong("paused_at_creation", value, kind(value), "true or false"),
                    }
                }
                "pools" => {
                    for (name, slots) in self.table("pools", value).into_iter().flatten() {
                        if let Some(slots) = self.count(&format!("pools.{}", name.get_ref()), slots) {
                            file.pools.insert(name.get_ref().to_string(), slots);
                        }
                    }
                }
                "params" => file.params = self.params("params", value),
                "notifiers" => file.notifiers = self.notifiers(value),
                "connections" => file.connections = self.connections(value),
                "dags" => {
                    for (dag, settings) in self.table("dags", value).into_iter().flatten() {
                        let path = format!("dags.{}", dag.get_ref());
                        for (key, value) in self.table(&path, settings).into_iter().flatten() {
                            match key.get_ref().as_ref() {
                                "params" => {
                                    let params = self.params(&format!("{path}.params"), value);
                                    file.dag_params.insert(dag.get_ref().to_string(), params);
                                }
                                _ => self.unknown(&format!("{path}."), key, &["params"]),
                            }
                        }
                    }
                }
                "log" => {
                    for (key, value) in self.table("log", value).into_iter().flatten() {
                        match key.get_ref().as_ref() {
                            "level" => {
                                file.log_level = self.one_of("log.level", value, &log_levels(), log_level);
                            }
                            _ => self.unknown("log.", key, &["level"]),
                        }
                    }
                }
                _ => self.unknown("", key, &ROOT),
            }
        }
        file
    }

    pub(super) fn unknown(&mut self, path: &str, key: &Spanned<std::borrow::Cow<'_, str>>, known: &[&str]) {
        let given = key.get_ref();
        let near = suggest::nearest(given, known.iter().copied());
        let near = near.map_or(String::new(), |name| format!(": did you mean `{path}{name}`?"));
        let all = known.iter().map(|name| format!("{path}{name}")).collect::<Vec<_>>().join(", ");
        self.problems.push((key.span().start, format!("there is no setting `{path}{given}`{near} (there are: {all})")));
    }

    pub(super) fn problem(&mut self, value: Entry<'_, '_>, sentence: String) {
        self.problems.push((value.span().start, sentence));
    }

    fn wrong<T>(&mut self, path: &str, value: Entry<'_, '_>, is: &str, must: &str) -> Option<T> {
        self.problems.push((value.span().start, format!("`{path}` is {is}, and must be {must}")));
        None
    }

    pub(super) fn text(&mut self, path: &str, value: Entry<'_, '_>) -> Option<String> {
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_string()),
            None => self.wrong(path, value, kind(value), "a string"),
        }
    }

    fn count(&mut self, path: &str, value: Entry<'_, '_>) -> Option<u32> {
        const MUST: &str = "a whole number from 1 on";
        match value.get_ref() {
            DeValue::Integer(number) => match number.as_str().parse() {
                Ok(count) if count > 0 => Some(count),
                _ => self.wrong(path, value, number.as_str(), MUST),
            },
            _ => self.wrong(path, value, kind(value), MUST),
        }
    }

    fn one_of<T>(
        &mut self,
        path: &str,
        value: Entry<'_, '_>,
        must: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(path, value)?;
        read(&text).or_else(|| self.wrong(path, value, &format!("`{text}`"), must))
    }

    pub(super) fn table<'a, 'i>(&mut self, path: &str, value: Entry<'a, 'i>) -> Option<&'a DeTable<'i>> {
        match value.get_ref().as_table() {
            Some(table) => Some(table),
            None => self.wrong(path, value, kind(value), "a table"),
        }
    }

    fn params(&mut self, path: &str, value: Entry<'_, '_>) -> Map<String, Value> {
        let table = self.table(path, value);
        table.into_iter().flatten().map(|(k, v)| (k.get_ref().to_string(), json(v.get_ref()))).collect()
    }
}

/// `a string`, `an integer`: for sentences.
fn kind(value: Entry<'_, '_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The value as JSON; a date becomes its text.
pub(super) fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).map_or_else(|_| Value::from(n.as_str()), Value::from)
        }
        DeValue::Float(n) => n.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(at) => Value::String(at.to_string()),
        DeValue::Array(list) => list.iter().map(|v| json(v.get_ref())).collect(),
        DeValue::Table(table) => table.iter().map(|(k, v)| (k.get_ref().to_string(), json(v.get_ref()))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_json() {
        let toml = "i = 1_000\nh = 0xff\nn = -3\nf = 1.5\nb = true\nd = 2021-01-01\nl = [1, 'x']\nt = { k = 1 }";
        let table = DeTable::parse(toml).unwrap();
        assert_eq!(
            json(&DeValue::Table(table.into_inner())),
            serde_json::json!({"i": 1000, "h": 255, "n": -3, "f": 1.5, "b": true, "d": "2021-01-01", "l": [1, "x"], "t": {"k": 1}})
        );
    }
}
