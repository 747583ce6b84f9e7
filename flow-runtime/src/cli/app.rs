//! What every command stands on: the DAGs, the settings, the output.

use super::args::{Global, ParamArgs};
use super::exit::{CliError, Result};
use super::output::Output;
use super::params::{self, Given, Origin, Resolved};
use crate::config::{Config, Flags};
use crate::quote::quoted;
use crate::registry::Registry;
use crate::store::MetadataStore;
use crate::{secret, suggest};
use flow_core::Dag;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The DAGs, the settings, the output.
pub struct App {
    /// All DAGs and bodies.
    pub registry: Registry,
    /// The settings in force.
    pub config: Config,
    /// Where results go.
    pub out: Arc<Output>,
    /// How to call this program with the same home folder: `dags`, `dags --home h`.
    pub program: String,
}

impl App {
    /// Collects the DAGs and reads the settings.
    pub fn load(program: String, global: &Global, parallelism: Option<u32>, out: Arc<Output>) -> Result<App> {
        let registry = Registry::collect()?;
        let config = settings(global, parallelism)?;
        mention_slips(&config, &out);
        match unknown_dags(&registry, &config).first() {
            Some(problem) => Err(CliError::input(problem)),
            None => Ok(App { registry, config, out, program: called(program, global.home.as_deref()) }),
        }
    }

    /// The same for a command that looks at what has run: whatever is wrong with the DAGs of today, it can be seen.
    pub fn load_history(program: String, global: &Global, out: Arc<Output>) -> Result<App> {
        let registry = Registry::collect().unwrap_or_else(|error| {
            out.note(format!("note: none of the DAGs can be run at present:\n{error}\n"));
            Registry::default()
        });
        let config = settings(global, None)?;
        mention_slips(&config, &out);
        Ok(App { registry, config, out, program: called(program, global.home.as_deref()) })
    }

    /// The params of a DAG, with what flow.toml, the environment and these arguments say.
    pub fn params<'d>(&self, dag: &'d Dag, args: &ParamArgs) -> Result<Vec<Resolved<'d>>> {
        self.mention_strange_variables();
        let json = args.params_json.as_deref().map(read_json).transpose()?.unwrap_or_default();
        let given = Given { config: &self.config, env: &env, json, flags: &args.params };
        let resolved = params::resolve(dag, &given)?;
        let secret = |flag: &String| {
            let name = flag.split_once('=')?.0.trim();
            resolved.iter().find(|p| p.def.secret && p.def.name == name).map(|p| &p.def.name)
        };
        if let Some(name) = args.params.iter().find_map(secret) {
            let variable = params::env_name(name);
            self.out.note(format!(
                "note: a flag is seen by others and kept by the shell; give the secret `{name}` by {variable}"
            ));
        }
        for param in resolved.iter().filter(|p| p.def.secret && p.origin != Origin::Default) {
            if param
                .value
                .as_ref()
                .and_then(Value::as_str)
                .is_some_and(|text| (1..secret::SHORTEST).contains(&text.len()))
            {
                self.out.note(format!(
                    "note: the secret `{}` has less than {} bytes, too few to be found again: a log in which a task writes it shows it",
                    param.def.name,
                    secret::SHORTEST
                ));
            }
        }
        Ok(resolved)
    }

    /// A variable that sets nothing is most likely a slip.
    fn mention_strange_variables(&self) {
        // Params are looked at for every DAG; this is said once.
        static SAID: AtomicBool = AtomicBool::new(false);
        if SAID.swap(true, Ordering::Relaxed) {
            return;
        }
        let params =
            self.registry.dags().flat_map(|d| d.params.iter().map(|p| &p.name)).chain(self.config.params.keys());
        let known: BTreeSet<String> = params.map(|name| params::env_name(name)).collect();
        for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
            if name.starts_with(params::ENV_PREFIX) && !known.contains(&name) {
                let near = suggest::nearest(&name, known.iter().map(String::as_str));
                let near = near.map_or(String::new(), |near| format!(": did you mean {near}?"));
                self.out.note(format!("note: {name} is set, and no DAG has such a param{near}"));
            }
        }
    }

    /// `[params]` of flow.toml under the variables that set them; secrets are left out.
    pub fn global_params(&self) -> Map<String, Value> {
        let secret = |name: &str| self.registry.dags().any(|d| d.params.iter().any(|p| p.secret && p.name == name));
        let mut globals = self.config.params.clone();
        globals.retain(|name, value| {
            if secret(name) {
                secret::conceal(value);
                return false;
            }
            if let Some(text) = env(&params::env_name(name)) {
                *value = if value.is_string() {
                    Value::from(text)
                } else {
                    serde_json::from_str(&text).unwrap_or(Value::from(text))
                };
            }
            true
        });
        globals
    }

    /// The metadata store; `None` if there is none yet (and a command that only reads makes none).
    pub async fn store_to_read(&self) -> Result<Option<Arc<dyn MetadataStore>>> {
        let is_there = self.config.postgres.is_some() || self.config.database().exists();
        if is_there { self.store().await.map(Some) } else { Ok(None) }
    }

    /// The metadata store, made if need be.
    pub async fn store(&self) -> Result<Arc<dyn MetadataStore>> {
        super::session::open_store(&self.config).await
    }

    /// `dags logs ..`: a command to copy.
    pub fn command(&self, words: &[&str]) -> String {
        let words = words.iter().map(|word| quoted(word));
        std::iter::once(self.program.clone()).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// The settings of the current folder.
pub fn settings(global: &Global, parallelism: Option<u32>) -> Result<Config> {
    let folder =
        std::env::current_dir().map_err(|e| CliError::outside(format!("the current folder cannot be read: {e}")))?;
    let flags = Flags { home: global.home.clone(), parallelism: parallelism.map(|n| n as usize) };
    let config = Config::load(&folder, &flags, env)?;
    if config.home.exists() && !config.home.is_dir() {
        return Err(CliError::input(format!("the home folder `{}` is a file: choose another", config.home.display())));
    }
    Ok(config)
}

/// A variable that sets nothing is most likely a slip.
pub fn mention_slips(config: &Config, out: &Output) {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    slips(set, &config.variables()).iter().for_each(|slip| out.note(format!("note: {slip}")));
}

/// What is set and not read, and either looks much like what is read, or can be meant for flow.toml alone. Others may have variables
/// of their own.
fn slips(set: impl Iterator<Item = String>, known: &[String]) -> Vec<String> {
    let known: Vec<&str> = known.iter().filter_map(|name| name.strip_prefix(PREFIX)).collect();
    let slip = |name: String| {
        let own = name.strip_prefix(PREFIX).filter(|own| !known.contains(own) && !own.starts_with("PARAM_"))?;
        let table = [("CONNECTION_", "connections"), ("NOTIFIER_", "notifiers")];
        let table = table.into_iter().find(|(kind, _)| own.starts_with(kind)).map(|(_, table)| table);
        match (flow_core::meant(own, known.iter().copied()), table) {
            (Some(meant), _) => {
                Some(format!("{name} is set, and flow does not read it: did you mean {PREFIX}{meant}?"))
            }
            (None, Some(table)) => {
                Some(format!("{name} is set, and `[{table}]` of flow.toml has nothing of this name"))
            }
            (None, None) => None,
        }
    };
    set.filter_map(slip).collect()
}

/// How the variables of flow begin.
const PREFIX: &str = "FLOW_";

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn called(program: String, home: Option<&Path>) -> String {
    home.map_or(program.clone(), |home| format!("{program} --home {}", quoted(&home.display().to_string())))
}

/// `[dags.<id>]` of DAGs that are not there.
pub fn unknown_dags(registry: &Registry, config: &Config) -> Vec<String> {
    let ids = || registry.dags().map(|d| d.dag_id.as_str());
    let file = config.file.as_deref().unwrap_or(Path::new("flow.toml")).display().to_string();
    let known = |id: &String| registry.dag(id).is_some() || registry.broken().contains_key(id);
    let strangers = config.dag_params.keys().filter(|id| !known(id));
    strangers
        .map(|id| {
            let near = suggest::nearest(id, ids()).map_or(String::new(), |n| format!(": did you mean `dags.{n}`?"));
            format!(
                "{file} sets `dags.{id}`, and there is no DAG `{id}`{near} (DAGs: {})",
                suggest::listed(&ids().collect::<Vec<_>>())
            )
        })
        .collect()
}

fn read_json(path: &Path) -> Result<Map<String, Value>> {
    let (shown, text) = if path == Path::new("-") {
        ("stdin".to_string(), std::io::read_to_string(std::io::stdin()))
    } else {
        (format!("`{}`", path.display()), std::fs::read_to_string(path))
    };
    let text = text.map_err(|e| CliError::input(format!("--params-json: {shown} cannot be read: {e}")))?;
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(CliError::input(format!(
            "--params-json: {shown} must hold one JSON object, like {{\"name\": \"value\"}}"
        ))),
        Err(e) => Err(CliError::input(format!(
            "--params-json: {shown} is not JSON (line {}, column {})",
            e.line(),
            e.column()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_copied() {
        assert_eq!(called("dags".into(), Some(Path::new("my home"))), "dags --home 'my home'");
    }

    #[test]
    fn a_variable_that_nothing_reads_is_told_if_it_is_meant_for_flow() {
        let known = ["FLOW_PARALLELISM", "FLOW_LOG", "FLOW_CONNECTION_LAKE_URL"].map(String::from);
        let said = |name: &str| slips([name.to_string()].into_iter(), &known).pop().unwrap_or_default();
        assert_eq!(
            said("FLOW_PARALELISM"),
            "FLOW_PARALELISM is set, and flow does not read it: did you mean FLOW_PARALLELISM?"
        );
        assert!(said("FLOW_CONNECTION_LAKES_URL").ends_with("did you mean FLOW_CONNECTION_LAKE_URL?"));
        assert_eq!(
            said("FLOW_NOTIFIER_OPS_URL"),
            "FLOW_NOTIFIER_OPS_URL is set, and `[notifiers]` of flow.toml has nothing of this name"
        );
        // What is read, what is told elsewhere, what a command is told, what is somebody else's.
        for name in ["FLOW_LOG", "FLOW_PARAM_LOGG", "FLOW_DAG_ID", "FLOW_TRY_NUMBER", "FLOW_TEST_TAXI", "FLOWER_LOG"] {
            assert_eq!(said(name), "", "{name}");
        }
    }

    #[test]
    fn a_params_file_must_hold_an_object_and_is_never_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, said) in [
            ("[1]", "must hold one JSON object"),
            ("{\"a\": hunter2}", "is not JSON (line 1, column"),
            ("", "is not JSON"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = read_json(file.path()).unwrap_err();
            assert!(error.message.contains(said) && !error.message.contains("hunter2"), "{error:?}");
        }
        assert!(read_json(Path::new("/no/such/file")).unwrap_err().message.contains("cannot be read"));
    }
}
