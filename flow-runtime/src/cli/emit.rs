//! `emit`: tells that an event has happened, for which tasks may wait.

use super::app::App;
use super::args::Emit;
use super::exit::{CliError, Exit, Result};
use super::session;
use crate::clock::{Clock as _, SystemClock};
use crate::secret;
use serde_json::{Value, json};

/// Writes the event down. Whoever waits for it looks within two seconds, in whatever process it is.
pub fn emit(app: &App, args: &Emit) -> Result {
    let text = args.payload.as_deref().unwrap_or("null");
    // It may be a secret, so it is not repeated.
    let payload: Value = serde_json::from_str(text).map_err(|e| {
        CliError::input(format!("what is told of the event is not JSON (line {}, column {})", e.line(), e.column()))
            .hint("a text is written '\"so\"', for the shell takes one pair of quotes away")
    })?;
    if secret::holds_password(&payload) {
        return Err(CliError::input("what is told of the event holds a URL with a password, and is not kept"));
    }
    let is_new = session::block_on(async {
        let store = app.store().await?;
        let is_new = store.put_event(&args.event, &payload.to_string(), SystemClock.now()).await?;
        store.close().await;
        Ok(is_new)
    })?;
    let out = &app.out;
    if out.json {
        out.json_pretty(&json!({"event": args.event, "new": is_new}));
    } else if is_new {
        out.line(format!("the event `{}` has happened: whoever waits for it goes on", args.event));
    } else {
        out.line(format!("the event `{}` had happened before, and happens once: nothing is changed", args.event));
    }
    Ok(Exit::Success)
}
