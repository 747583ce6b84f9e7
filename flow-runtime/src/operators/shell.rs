//! A command in a shell, as a task.

#[cfg(unix)]
mod process;

use crate::context::Context;
use crate::error::Result;
use crate::secret::Secret;
use crate::{task, value};
use std::collections::BTreeMap;

/// A command, and what it runs in.
#[value]
pub struct Bash {
    /// What the shell is given: a line, or a script.
    pub command: String,
    /// Variables besides those of this program and the `FLOW_*` ones. No place for secrets: they are stored.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The folder in which it runs; `None` for that of this program.
    #[serde(default)]
    pub cwd: Option<String>,
    /// The shell: a program that takes `-c COMMAND`.
    #[serde(default = "bash_itself")]
    pub shell: String,
}

fn bash_itself() -> String {
    "bash".into()
}

impl Bash {
    /// This command, run by `bash`, in the folder of this program.
    pub fn new(command: impl Into<String>) -> Bash {
        Bash { command: command.into(), env: BTreeMap::new(), cwd: None, shell: bash_itself() }
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Bash {
        self.env.insert(name.into(), value.into());
        self
    }

    /// In this folder.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<String>) -> Bash {
        self.cwd = Some(folder.into());
        self
    }

    /// By this shell: `sh`, or a path.
    #[must_use]
    pub fn shell(mut self, shell: impl Into<String>) -> Bash {
        self.shell = shell.into();
        self
    }

    /// Runs it, for a task of one's own; see [`bash`].
    ///
    /// # Errors
    /// As those of [`bash`].
    pub async fn run(&self, ctx: &Context) -> Result<String> {
        self.run_with(ctx, &[]).await
    }

    /// Runs it with secrets among its variables, which are not stored.
    ///
    /// # Errors
    /// As those of [`bash`].
    #[cfg(unix)]
    pub async fn run_with(&self, ctx: &Context, secrets: &[(&str, &Secret<String>)]) -> Result<String> {
        process::run(self, ctx, secrets).await
    }

    /// Runs it with secrets among its variables, which are not stored.
    ///
    /// # Errors
    /// Always: there is no such shell here.
    #[cfg(not(unix))]
    pub async fn run_with(&self, _: &Context, _: &[(&str, &Secret<String>)]) -> Result<String> {
        Err(crate::TaskError::fail("`bash` needs a Unix system"))
    }
}

/// Runs a command in `bash`. Its lines go to the log of the try as they come; the last line that it printed, trimmed, is the
/// value. Exit code 99 skips the task, any other but 0 fails the try.
///
/// The command leads a process group of its own. Told to stop it gets SIGTERM, and five seconds later SIGKILL; when its try
/// takes too long, SIGKILL at once. Whatever it has started ends with it, however it ends. It finds its try in `FLOW_DAG_ID`,
/// `FLOW_RUN_ID`, `FLOW_TASK_ID`, `FLOW_MAP_INDEX`, `FLOW_TRY_NUMBER`, `FLOW_LOGICAL_DATE`, `FLOW_DATA_INTERVAL_START` and
/// `FLOW_DATA_INTERVAL_END`.
///
/// # Errors
/// An exit code, a signal, a shell or a folder that is not there.
#[task]
pub async fn bash(ctx: &Context, command: String) -> Result<String> {
    Bash::new(command).run(ctx).await
}

/// [`bash`] with variables, a folder or another shell; what a task returns may say them: `bash_with(plan(day))`.
///
/// # Errors
/// As those of [`bash`].
#[task]
pub async fn bash_with(ctx: &Context, command: Bash) -> Result<String> {
    command.run(ctx).await
}

/// [`bash_with`], with a secret in the variable of this name.
///
/// # Errors
/// As those of [`bash`].
#[task]
pub async fn bash_with_secret(ctx: &Context, command: Bash, name: String, secret: Secret<String>) -> Result<String> {
    command.run_with(ctx, &[(&name, &secret)]).await
}
