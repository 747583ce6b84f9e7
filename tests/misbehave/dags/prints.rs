//! Tasks that print by themselves.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use flow_runtime::prelude::*;

/// Prints on both streams, and through a child process.
#[task]
fn noisy(password: &Option<Secret<String>>) -> Result<u32> {
    println!("printed to stdout");
    eprintln!("printed to stderr");
    if let Some(password) = password {
        println!("the password is {}", password.expose());
    }
    std::process::Command::new("echo").arg("printed by a child").status()?;
    Ok(7)
}

/// A task that prints in the process of all others.
#[dag]
pub fn prints(
    /// Is printed.
    password: Option<Secret<String>>,
) {
    noisy(password);
}

/// The same in a process of its own.
#[dag]
pub fn prints_apart(
    /// Is printed, and must not be seen.
    password: Option<Secret<String>>,
) {
    noisy(password).isolation(flow_runtime::core::dag::Isolation::Process);
}
