//! `connections`: the places that have a name.

use super::app::App;
use super::exit::{Exit, Result};
use super::table::Table;
use serde_json::json;

/// Lists them, without anything secret.
pub fn connections(app: &App) -> Result {
    let (out, known) = (&app.out, &app.config.connections);
    let exit = if known.broken().next().is_some() { Exit::BadInput } else { Exit::Success };
    let names = |options: Vec<&str>| options.join(", ");
    if out.json {
        let found = known.iter().map(|(name, place)| {
            let options: Vec<_> = place.options().map(|(name, _)| name).collect();
            json!({ "connection_id": name, "url": place.shown(), "options": options })
        });
        let broken = known.broken().map(|(name, why)| json!({ "connection_id": name, "error": why }));
        out.json_pretty(&found.chain(broken).collect::<Vec<_>>());
        return Ok(exit);
    }
    if known.iter().next().is_none() && known.broken().next().is_none() {
        out.note("flow.toml has no `[connections]`: `lake = \"s3://bucket/folder\"` below it makes `conn:lake` stand for that");
        return Ok(Exit::Success);
    }
    if known.iter().next().is_some() {
        let mut table = Table::new(&["CONNECTION", "PLACE", "OPTIONS"], &[2, 1]);
        for (name, place) in known.iter() {
            let options = place.options().map(|(name, _)| name).collect();
            table.row([name.to_owned(), place.shown(), names(options)]);
        }
        for line in table.lines(out.width, out.paint) {
            out.line(line);
        }
    }
    for (name, why) in known.broken() {
        out.note(format!("{} {name}: {why}", out.paint_err.bad("✘")));
    }
    Ok(exit)
}
