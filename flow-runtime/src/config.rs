//! The settings of a project: flags over `FLOW_*` variables over `flow.toml` over defaults.
//!
//! ```toml
//! home = ".flow"              # FLOW_HOME, --home: the home folder; relative to this file (to the current folder without one)
//! parallelism = 32            # FLOW_PARALLELISM, --parallelism: most tries at one time
//! grace = "10s"               # FLOW_GRACE: how long a task that is told to end may go on
//! durability = "process"      # FLOW_DURABILITY: "process" survives a kill -9, "power" a power cut too (slower)
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
//! [log]
//! level = "info"              # FLOW_LOG: error, warn, info, debug, trace, or like "my_dags=debug,info"
//! ```
//!
//! `flow.toml` is looked for in the current folder, then in each folder above it. A key that it does not know is refused:
//! a setting that is silently ignored is worse than none.

mod file;

use crate::store::Durability;
use crate::telemetry::check_directives;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the settings file.
pub const FILE_NAME: &str = "flow.toml";

/// Everything that can be set, with what is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The home folder: `flow.db`, `logs/`, `xcom/`, `lake/` and the warehouse lie in it.
    pub home: PathBuf,
    /// Most tries at one time.
    pub parallelism: usize,
    /// How long a try that is told to end may go on.
    pub grace: Duration,
    /// What a commit survives.
    pub durability: Durability,
    /// Is a DAG paused of which nobody has said whether it is?
    pub paused_at_creation: bool,
    /// Slots of the pools that the project declares.
    pub pools: BTreeMap<String, u32>,
    /// Params for every DAG, and for [`Context::param`](crate::Context::param).
    pub params: Map<String, Value>,
    /// Params by DAG.
    pub dag_params: BTreeMap<String, Map<String, Value>>,
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
        if let Some(path) = find(folder) {
            // A project has one home, whatever folder of it one stands in.
            let root = path.parent().unwrap_or(folder);
            config.home = Config::at(root).home;
            file::read(&path)?.merge_into(&mut config, root);
            config.file = Some(path);
        }
        config.take_env(folder, env)?;
        if let Some(home) = &flags.home {
            config.home = folder.join(home);
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
            parallelism: 32,
            grace: Duration::from_secs(10),
            durability: Durability::default(),
            paused_at_creation: false,
            pools: BTreeMap::new(),
            params: Map::new(),
            dag_params: BTreeMap::new(),
            log_level: "info".into(),
            file: None,
        }
    }

    fn take_env(&mut self, folder: &Path, env: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        let get = |name: &str| env(name).filter(|text| !text.is_empty());
        let mut problems = Vec::new();
        if let Some(home) = get("FLOW_HOME") {
            self.home = folder.join(home);
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
        if let Some(text) = get("FLOW_DURABILITY") {
            match Durability::from_name(&text) {
                Some(durability) => self.durability = durability,
                None => problems.push(format!("FLOW_DURABILITY is `{text}`, and must be `process` or `power`")),
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
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// The database file of the home folder.
    pub fn database(&self) -> PathBuf {
        self.home.join("flow.db")
    }
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
    }

    #[test]
    fn flags_beat_env_and_env_beats_the_file() {
        let env = [("FLOW_HOME", "from_env"), ("FLOW_PARALLELISM", "5"), ("FLOW_LOG", "DEBUG")];
        let config = load("home = 'h'\nparallelism = 4", &env, Flags::default()).unwrap();
        assert_eq!(
            (config.home.as_path(), config.parallelism, config.log_level.as_str()),
            (Path::new("a/b/from_env"), 5, "debug")
        );
        let config = load("", &env, Flags { home: Some("flag".into()), parallelism: Some(6) }).unwrap();
        assert_eq!((config.home.as_path(), config.parallelism), (Path::new("a/b/flag"), 6));
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
    fn a_wrong_file_is_refused_with_line_and_suggestion() {
        for (toml, said) in [
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
