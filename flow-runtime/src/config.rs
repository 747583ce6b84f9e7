//! The settings of a project: flags over `FLOW_*` variables over `flow.toml` over defaults.
//!
//! ```toml
//! home = ".flow"              # FLOW_HOME, --home: the home folder; relative to this file (to the current folder without one)
//! parallelism = 32            # FLOW_PARALLELISM, --parallelism: most tries at one time
//! grace = "10s"               # FLOW_GRACE: how long a task that is told to end may go on
//! task_memory = "64MiB"       # FLOW_TASK_MEMORY: about how much data a ready task keeps in memory
//! durability = "process"      # FLOW_DURABILITY: "process" survives a kill -9, "power" a power cut too (slower)
//! database = "postgres://.."  # FLOW_DATABASE: the metadata in Postgres, for several machines; without it flow.db of the home folder
//! lease = "15s"               # FLOW_LEASE: on Postgres, how long a run stays with a process that is not heard of any more
//!
//! [pools]                     # slots that tasks share: #[task(pool = "warehouse")]
//! warehouse = 2
//!
//! [params]                    # global: for every DAG with a param of this name, and for Context::param
//! lake = "file:///data/lake"
//!
//! [dags.taxi.params]          # for this DAG alone
//! url = "https://example.com/trips.csv"
//!
//! [notifiers]                 # whom #[task(on_failure = "ops")] tells; also kind = "webhook", "email", "command", "log"
//! ops = { kind = "slack", url = "https://hooks.example/.." }  # FLOW_NOTIFIER_OPS_URL
//!
//! [connections]               # places that have a name: "conn:lake/raw" stands for a URL below it, with its options
//! warehouse = "postgres://ada@db/ny_taxi"  # FLOW_CONNECTION_WAREHOUSE_URL
//! lake = { url = "s3://lake", aws_endpoint = "http://minio:9000", aws_secret_access_key = { env = "LAKE_KEY" } }
//!
//! [log]
//! level = "info"              # FLOW_LOG: error, warn, info, debug, trace, or like "my_dags=debug,info"
//! ```
//!
//! `flow.toml` is looked for in the current folder, then in each folder above it. A key that it does not know is refused:
//! a setting that is silently ignored is worse than none.

mod connections;
mod file;
mod notifiers;

use crate::connection::Connections;
use crate::notify::Channel;
use crate::secret::{self, Secret};
use crate::store::Durability;
use crate::telemetry::check_directives;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a run stays with a process that is not heard of any more, unless it is set: long enough for a restart of the database,
/// short enough for a person to wait.
pub const LEASE: Duration = Duration::from_secs(15);

/// The shortest lease: with less, each hiccup of a network would end runs.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// What [`size`] takes.
const A_SIZE: &str = "a size like `64MiB`, of at least 1 MB";

/// A size in bytes, of 1 MB at least: `64MiB`, `1.5 GB`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "mb" => 1e6,
        "mib" => f64::from(1 << 20),
        "gb" => 1e9,
        "gib" => f64::from(1 << 30),
        _ => return None,
    };
    let bytes = digits.trim().parse::<f64>().ok()? * unit;
    (bytes.is_finite() && bytes >= 1e6).then_some(bytes as u64)
}

/// Name of the settings file.
pub const FILE_NAME: &str = "flow.toml";

/// Everything that can be set, with what is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The home folder: `flow.db`, `logs/`, `xcom/`, `lake/` and the warehouse lie in it.
    pub home: PathBuf,
    /// It was said by `--home` or FLOW_HOME: whoever stands in the folder of the project does not find it by that alone.
    pub home_is_said: bool,
    /// Most tries at one time.
    pub parallelism: usize,
    /// How long a try that is told to end may go on.
    pub grace: Duration,
    /// About how many bytes of data a task of [`tasks`](crate::tasks) keeps in memory; `None` for what is quick.
    pub task_memory: Option<u64>,
    /// What a commit survives; of Postgres, its own settings decide.
    pub durability: Durability,
    /// The address of the Postgres that keeps the metadata; `None` for the file in the home folder.
    pub postgres: Option<Secret<String>>,
    /// On Postgres: how long a run stays with a process that is not heard of any more.
    pub lease: Duration,
    /// Is a DAG paused of which nobody has said whether it is?
    pub paused_at_creation: bool,
    /// Slots of the pools that the project declares.
    pub pools: BTreeMap<String, u32>,
    /// Params for every DAG, and for [`Context::param`](crate::Context::param).
    pub params: Map<String, Value>,
    /// Params by DAG.
    pub dag_params: BTreeMap<String, Map<String, Value>>,
    /// What the names stand for that DAGs tell.
    pub notifiers: BTreeMap<String, Channel>,
    /// The places that have a name.
    pub connections: Connections,
    /// The variables of which they have what is secret, as flow.toml says.
    pub named: Vec<String>,
    /// What is logged: the least level, or directives like `my_dags=debug,info`.
    pub log_level: String,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// What was given on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--home`
    pub home: Option<PathBuf>,
    /// `--parallelism`
    pub parallelism: Option<usize>,
}

/// Why the settings cannot be used; each problem is a sentence that names its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// The levels of a log, from few words to many.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

impl Config {
    /// The settings in force in this folder.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value of the wrong type: all of them at once.
    pub fn load(folder: &Path, flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut config = Config::at(folder);
        let mut connections = Vec::new();
        if let Some(path) = find(folder) {
            // A project has one home, whatever folder of it one stands in.
            let root = path.parent().unwrap_or(folder);
            config.home = Config::at(root).home;
            let (file, stated) = file::read(&path)?;
            file.merge_into(&mut config, root);
            connections = stated;
            config.file = Some(path);
        }
        config.take_env(folder, &connections, env)?;
        if let Some(home) = &flags.home {
            (config.home, config.home_is_said) = (folder.join(home), true);
        }
        if let Some(parallelism) = flags.parallelism {
            config.parallelism = parallelism;
        }
        Ok(config)
    }

    /// The defaults, with the home folder `.flow` in this folder.
    pub fn at(folder: &Path) -> Config {
        Config {
            home: folder.join(".flow"),
            home_is_said: false,
            parallelism: 32,
            grace: Duration::from_secs(10),
            task_memory: None,
            durability: Durability::default(),
            postgres: None,
            lease: LEASE,
            paused_at_creation: false,
            pools: BTreeMap::new(),
            params: Map::new(),
            dag_params: BTreeMap::new(),
            notifiers: BTreeMap::new(),
            connections: Connections::default(),
            named: Vec::new(),
            log_level: "info".into(),
            file: None,
        }
    }

    fn take_env(
        &mut self,
        folder: &Path,
        connections: &[connections::Stated],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let get = |name: &str| env(name).filter(|text| !text.is_empty());
        let mut problems = Vec::new();
        if let Some(home) = get("FLOW_HOME") {
            (self.home, self.home_is_said) = (folder.join(home), true);
        }
        if let Some(text) = get("FLOW_PARALLELISM") {
            match text.trim().parse() {
                Ok(number) if number > 0 => self.parallelism = number,
                _ => problems.push(format!("FLOW_PARALLELISM is `{text}`, and must be a whole number from 1 on")),
            }
        }
        if let Some(text) = get("FLOW_GRACE") {
            match flow_core::parse::duration(&text) {
                Ok(grace) => self.grace = grace,
                Err(why) => problems.push(format!("FLOW_GRACE: {why}")),
            }
        }
        if let Some(text) = get("FLOW_TASK_MEMORY") {
            match size(&text) {
                Some(bytes) => self.task_memory = Some(bytes),
                None => problems.push(format!("FLOW_TASK_MEMORY is `{text}`, and must be {A_SIZE}")),
            }
        }
        if let Some(text) = get("FLOW_DURABILITY") {
            match Durability::from_name(&text) {
                Some(durability) => self.durability = durability,
                None => problems.push(format!("FLOW_DURABILITY is `{text}`, and must be `process` or `power`")),
            }
        }
        if let Some(text) = get("FLOW_DATABASE") {
            match address(&text) {
                Some(address) => self.postgres = Some(address),
                None => problems.push(format!("FLOW_DATABASE must be {ADDRESS}")),
            }
        }
        if let Some(text) = get("FLOW_LEASE") {
            match flow_core::parse::duration(&text) {
                Ok(lease) if lease >= SHORTEST_LEASE => self.lease = lease,
                Ok(_) => problems.push(format!("FLOW_LEASE is `{text}`, and must be {A_LEASE}")),
                Err(why) => problems.push(format!("FLOW_LEASE: {why}")),
            }
        }
        if let Some(text) = get("FLOW_PAUSED_AT_CREATION") {
            match text.as_str() {
                "true" => self.paused_at_creation = true,
                "false" => self.paused_at_creation = false,
                _ => problems.push(format!("FLOW_PAUSED_AT_CREATION is `{text}`, and must be `true` or `false`")),
            }
        }
        if let Some(text) = get("FLOW_LOG") {
            match log_level(&text) {
                Some(level) => self.log_level = level,
                None => problems.push(format!("FLOW_LOG is `{text}`, and must be {}", log_levels())),
            }
        }
        notifiers::take_env(&mut self.notifiers, get, &mut problems);
        self.connections = connections::resolve(connections, get);
        self.named = connections.iter().flat_map(connections::Stated::variables).map(str::to_owned).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// The variables that are read, params aside.
    pub fn variables(&self) -> Vec<String> {
        let connections = self.connections.iter().map(|(name, _)| name);
        let connections = connections.chain(self.connections.broken().map(|(name, _)| name));
        let connections = connections.map(|name| variable("CONNECTION", name, "URL"));
        let notifiers =
            self.notifiers.keys().flat_map(|name| ["URL", "PASSWORD"].map(|what| notifiers::variable(name, what)));
        let named = self.named.iter().cloned();
        VARIABLES.into_iter().map(String::from).chain(connections).chain(notifiers).chain(named).collect()
    }

    /// Where the metadata is, for people, without a password.
    pub fn records(&self) -> String {
        match &self.postgres {
            Some(address) => format!("database: {}", secret::redact(address.expose())),
            None => format!("home folder: {}", self.home.display()),
        }
    }

    /// The database file of the home folder.
    pub fn database(&self) -> PathBuf {
        self.home.join("flow.db")
    }
}

/// The variables that set what they set.
const VARIABLES: [&str; 9] = [
    "FLOW_HOME",
    "FLOW_PARALLELISM",
    "FLOW_GRACE",
    "FLOW_TASK_MEMORY",
    "FLOW_DURABILITY",
    "FLOW_DATABASE",
    "FLOW_LEASE",
    "FLOW_PAUSED_AT_CREATION",
    "FLOW_LOG",
];

/// The variable that holds something about what has this name in the settings.
fn variable(kind: &str, name: &str, what: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("FLOW_{kind}_{name}_{what}")
}

/// What an address of a database must be.
const ADDRESS: &str = "an address like `postgres://user:password@host:5432/database`";

/// What a lease must be.
const A_LEASE: &str = "a length of time like `15s`, of a second or more";

/// The address of a Postgres. Its password is never printed from here on.
fn address(text: &str) -> Option<Secret<String>> {
    secret::conceal_passwords(&Value::from(text));
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    matches!(scheme, Some("postgres" | "postgresql")).then(|| Secret::new(text.to_string()))
}

/// The level, or the directives, that this text is.
fn log_level(text: &str) -> Option<String> {
    let level = LEVELS.iter().find(|level| text.eq_ignore_ascii_case(level)).map(|level| (*level).to_string());
    // `loud` alone would be taken for the name of a module.
    level.or_else(|| (text.contains('=') && check_directives(text).is_ok()).then(|| text.to_string()))
}

fn log_levels() -> String {
    format!("one of {}, or like `my_dags=debug,info`", LEVELS.join(", "))
}

/// The nearest `flow.toml`, from this folder upward.
fn find(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().map(|f| f.join(FILE_NAME)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)], flags: Flags) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), toml).unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
        let mut config = Config::load(&inner, &flags, get)
            .map_err(|e| e.to_string().replace(&folder.path().display().to_string(), ""))?;
        config.home = config.home.strip_prefix(folder.path()).map(Path::to_path_buf).unwrap_or(config.home);
        Ok(config)
    }

    #[test]
    fn a_size_has_a_unit_and_is_no_trifle() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1.5 GB", 1_500_000_000), ("1mb", 1_000_000), ("2GiB", 2 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for wrong in ["64", "MiB", "0.5MB", "-1GB", "nanGB", "1e400GB", "64kB", ""] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
        let config = load("task_memory = '8MB'", &[], Flags::default()).unwrap();
        assert_eq!(config.task_memory, Some(8_000_000));
        let config = load("task_memory = '8MB'", &[("FLOW_TASK_MEMORY", "9MB")], Flags::default()).unwrap();
        assert_eq!(config.task_memory, Some(9_000_000));
        let wrong = load("task_memory = '8'", &[], Flags::default()).unwrap_err();
        assert!(wrong.contains("flow.toml:1: `task_memory` is `8`, and must be a size like `64MiB`"), "{wrong}");
    }

    #[test]
    fn a_file_above_is_found_and_its_home_lies_beside_it() {
        let config = load(
            "home = 'h'\nparallelism = 4\ndurability = 'power'\n[pools]\nw = 2\n[params]\nlake = 'x'\n",
            &[],
            Flags::default(),
        )
        .unwrap();
        assert_eq!(
            (config.home.as_path(), config.parallelism, config.durability),
            (Path::new("h"), 4, Durability::Power)
        );
        assert_eq!((config.pools["w"], &config.params["lake"]), (2, &Value::from("x")));
        assert_eq!(load("", &[], Flags::default()).unwrap().home, Path::new(".flow"));
        assert!(!config.home_is_said, "whoever stands in the project finds it");
    }

    #[test]
    fn flags_beat_env_and_env_beats_the_file() {
        let env = [("FLOW_HOME", "from_env"), ("FLOW_PARALLELISM", "5"), ("FLOW_LOG", "DEBUG")];
        let config = load("home = 'h'\nparallelism = 4", &env, Flags::default()).unwrap();
        assert_eq!(
            (config.home.as_path(), config.parallelism, config.log_level.as_str()),
            (Path::new("a/b/from_env"), 5, "debug")
        );
        assert!(config.home_is_said);
        let config = load("", &env, Flags { home: Some("flag".into()), parallelism: Some(6) }).unwrap();
        assert_eq!((config.home.as_path(), config.parallelism), (Path::new("a/b/flag"), 6));
        assert!(load("", &[], Flags { home: Some("flag".into()), parallelism: None }).unwrap().home_is_said);
    }

    #[test]
    fn a_wrong_variable_is_named_with_what_it_may_be() {
        let error =
            load("", &[("FLOW_PARALLELISM", "many"), ("FLOW_DURABILITY", "eternal")], Flags::default()).unwrap_err();
        assert_eq!(
            error,
            "FLOW_PARALLELISM is `many`, and must be a whole number from 1 on\nFLOW_DURABILITY is `eternal`, and must be `process` or `power`"
        );
    }

    #[test]
    fn a_database_is_a_secret_address_and_a_lease_has_a_least_length() {
        let config =
            load("database = 'postgres://ada:in-the-file@h/flow'\nlease = '3s'", &[], Flags::default()).unwrap();
        assert_eq!((config.records().as_str(), config.lease.as_secs()), ("database: postgres://ada:***@h/flow", 3));
        let env = [("FLOW_DATABASE", "postgres://ada:from-the-env@h/x"), ("FLOW_LEASE", "1m")];
        let config = load("database = 'postgres://ada:in-the-file@h/flow'", &env, Flags::default()).unwrap();
        assert_eq!((config.records().as_str(), config.lease.as_secs()), ("database: postgres://ada:***@h/x", 60));
        assert!(!format!("{config:?}").contains("from-the-env"));
        assert_eq!(secret::redact("in-the-file, from-the-env"), "***, ***");
        let wrong = [("FLOW_DATABASE", "mysql://ada:hush-hush@h/x"), ("FLOW_LEASE", "10ms")];
        let error = load("", &wrong, Flags::default()).unwrap_err();
        assert_eq!(
            error,
            "FLOW_DATABASE must be an address like `postgres://user:password@host:5432/database`\n\
             FLOW_LEASE is `10ms`, and must be a length of time like `15s`, of a second or more"
        );
    }

    #[test]
    fn a_connection_is_a_url_or_a_table_and_may_have_its_values_elsewhere() {
        let toml = "[connections]\nlake = { url = 's3://lake', aws_endpoint = 'http://h', aws_secret_access_key = { env = 'LAKE_KEY' } }\n\
                    prod = 'postgres://ada@h/x'\nnone = { aws_region = 'eu' }";
        let env = [("LAKE_KEY", "hush-hush"), ("FLOW_CONNECTION_PROD_URL", "postgres://ada:of-the-env@h/x")];
        let config = load(toml, &env, Flags::default()).unwrap();
        let variables = config.variables();
        assert!(["LAKE_KEY", "FLOW_CONNECTION_LAKE_URL"].iter().all(|name| variables.contains(&(*name).to_owned())));
        let known = config.connections;
        let lake = known.place("conn:lake/raw").unwrap();
        assert_eq!(lake.url(), "s3://lake/raw");
        assert_eq!(
            lake.options().collect::<Vec<_>>(),
            [("aws_endpoint", "http://h"), ("aws_secret_access_key", "hush-hush")]
        );
        assert_eq!(known.place("conn:prod").unwrap().url(), "postgres://ada:of-the-env@h/x");
        let why = known.place("conn:none").unwrap_err().to_string();
        assert!(why.contains("write it in flow.toml, or set FLOW_CONNECTION_NONE_URL"), "{why}");
        // A machine that lacks a key can do everything else.
        let known = load(toml, &[], Flags::default()).unwrap().connections;
        let why = known.place("conn:lake").unwrap_err().to_string();
        assert!(why.contains("LAKE_KEY is not set, of which `aws_secret_access_key` has its value"), "{why}");
        assert!(known.place("conn:prod").is_ok());
    }

    #[test]
    fn a_wrong_file_is_refused_with_line_and_suggestion() {
        for (toml, said) in [
            ("[connections]\n'a b' = 'x'", "/flow.toml:2: `connections.a b`: a connection is named by letters, digits"),
            (
                "[connections.a]\naws_regoin = 'x'",
                "/flow.toml:2: `connections.a.aws_regoin` is no option of a store or of BigQuery",
            ),
            (
                "[connections.a]\naws_region = ['hush']",
                "/flow.toml:2: `connections.a.aws_region` must be a text, a number, true or false, or `{ env",
            ),
            (
                "parallelism = 4\nparalelism = 5",
                "/flow.toml:2: there is no setting `paralelism`: did you mean `parallelism`?",
            ),
            (
                "[dags.taxi]\nparam = 1",
                "/flow.toml:2: there is no setting `dags.taxi.param`: did you mean `dags.taxi.params`?",
            ),
            ("[pools]\nw = 'two'", "/flow.toml:2: `pools.w` is a string, and must be a whole number from 1 on"),
            ("[pools]\nw = 0", "/flow.toml:2: `pools.w` is 0, and must be a whole number from 1 on"),
            (
                "database = 'sqlite://x'",
                "/flow.toml:1: `database` is another address, and must be an address like `postgres://",
            ),
            (
                "lease = '0s'",
                "/flow.toml:1: `lease` is `0s`, and must be a length of time like `15s`, of a second or more",
            ),
            ("home = 3", "/flow.toml:1: `home` is an integer, and must be a string"),
            ("params = 3", "/flow.toml:1: `params` is an integer, and must be a table"),
            ("durability = 'x'", "/flow.toml:1: `durability` is `x`, and must be `process` or `power`"),
            (
                "[log]\nlevel = 'loud'",
                "/flow.toml:2: `log.level` is `loud`, and must be one of error, warn, info, debug, trace, or like `my_dags=debug,info`",
            ),
        ] {
            let error = load(toml, &[], Flags::default()).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
        let error = load("\nhome = ", &[], Flags::default()).unwrap_err();
        assert!(error.starts_with("/flow.toml:2: "), "{error}");
    }
}
