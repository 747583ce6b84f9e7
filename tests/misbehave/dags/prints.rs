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

/// Talks until there is room, and tells how much it has said.
#[task]
async fn talks(ctx: &Context) -> u32 {
    let mut said = 0;
    while !ctx.home().join("room").exists() {
        // Too quiet for whoever looks on, whose own file must not get full as well.
        debug!("{said} {}", "word after word ".repeat(1000));
        said += 1;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    info!("there is room again");
    said + 1
}

/// A task that says more than there is room for.
#[dag]
pub fn wordy() {
    talks();
}

/// Says two things.
#[task]
fn says_two_things() {
    info!("one thing");
    info!("and another");
}

/// Logs by itself, once.
#[dag(schedule = "@once")]
pub fn in_two_lines() {
    says_two_things();
}
