//! How a command ends: exit codes, and errors with what to do about them.

use crate::config::ConfigError;
use crate::registry::RegistryError;
use crate::store::StoreError;
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Success = 0,
    /// The run ended in state failed.
    RunFailed = 1,
    /// What was given is wrong: an argument, a param, a setting, or the DAGs themselves.
    BadInput = 2,
    /// The run was interrupted, and can be resumed.
    Interrupted = 3,
    /// Something outside failed: the metadata store, the file system.
    Outside = 4,
}

/// The exit codes, as `--help` prints them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  a run ended in state failed
  2  bad input: arguments, params, flow.toml, or the DAGs themselves (also what `check` found)
  3  the run was interrupted (Ctrl-C) and can be resumed
  4  something outside failed: the metadata store, the file system

Results go to stdout, everything else to stderr. With --json, stdout holds nothing but JSON:
an array for a listing, an object for a single thing, one object a line for the events of a
run. An error is then one line on stderr: {\"error\": \"..\", \"hints\": [..], \"exit_code\": 2}.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong: a sentence, or several lines of them.
    pub message: String,
    /// What there is, and what to do; one line each.
    pub hints: Vec<String>,
}

/// What a command returns.
pub type Result<T = Exit> = std::result::Result<T, CliError>;

impl CliError {
    /// What was given is wrong.
    pub fn input(message: impl Into<String>) -> CliError {
        CliError { exit: Exit::BadInput, message: message.into(), hints: Vec::new() }
    }

    /// Something outside failed.
    pub fn outside(message: impl Into<String>) -> CliError {
        CliError { exit: Exit::Outside, message: message.into(), hints: Vec::new() }
    }

    /// With one more line of help.
    pub fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hints.push(hint.into());
        self
    }

    /// With these lines of help.
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> CliError {
        self.hints.extend(hints);
        self
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        CliError::input(error.to_string())
    }
}

impl From<RegistryError> for CliError {
    fn from(error: RegistryError) -> CliError {
        CliError::input(error.to_string())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> CliError {
        match error {
            StoreError::RunExists { .. } | StoreError::LogicalDateTaken { .. } => CliError::input(error.to_string()),
            _ => CliError::outside(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        use Exit::*;
        for exit in [Success, RunFailed, BadInput, Interrupted, Outside] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn a_run_that_is_there_already_is_the_callers_mistake() {
        let exists = StoreError::RunExists { dag_id: "d".into(), run_id: "r".into() };
        assert_eq!(CliError::from(exists).exit, Exit::BadInput);
        assert_eq!(CliError::from(StoreError::Backend("disk full".into())).exit, Exit::Outside);
    }
}
