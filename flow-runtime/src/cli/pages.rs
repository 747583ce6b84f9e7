//! Every command line and every flag that README.md and docs/ speak of is one that the program takes.

use super::args::Cli;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The pages, with their texts. A crate without its repository has none.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Ok(docs) = fs::read_dir(root.join("docs")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry of docs/").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "md"));
    paths.push(root.join("README.md"));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a page"))).collect()
}

/// What stands between two backticks, outside of blocks.
fn spans(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut spans = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut prose = String::new();
        for line in paragraph.lines() {
            if line.starts_with("```") {
                inside = !inside;
            } else if !inside {
                prose.push_str(line.trim_start());
                prose.push(' ');
            }
        }
        spans.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    spans
}

/// The command lines of a page, each as it follows the name of the program.
fn commands(text: &str) -> Vec<String> {
    let in_prose = spans(text).into_iter().filter_map(|span| span.strip_prefix("dags ").map(str::to_owned));
    let joined = text.replace("\\\n", " ");
    let in_blocks = joined.lines().filter_map(|line| line.split_once("cargo run --bin dags -- "));
    let in_blocks = in_blocks.map(|(_, command)| command.split([';', '>', '#']).next().unwrap_or_default().to_owned());
    in_prose.chain(in_blocks.map(|command| command.split('`').next().unwrap_or_default().to_owned())).collect()
}

/// A command line with something in the place of what a reader is to fill in. What stands in quotes is one word.
fn filled_in(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = command.trim_start();
    while let Some(first) = rest.chars().next() {
        let quote = Some(first).filter(|c| matches!(c, '\'' | '"'));
        let (word, after) = match quote {
            Some(quote) => rest[1..].split_once(quote).unwrap_or((&rest[1..], "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        rest = after.trim_start();
        if quote.is_some() {
            words.push(word.to_owned());
            continue;
        }
        let plain = word.trim_matches(['[', ']', '.']).replace("\\|", "|").replace("]", "");
        words.extend(match plain.split('|').next().unwrap_or_default() {
            "" => None,
            "DATE" => Some("2026-03-01".to_owned()),
            "N" | "I" => Some("1".to_owned()),
            "STATE" => Some("success".to_owned()),
            word => Some(word.to_owned()),
        });
    }
    words
}

#[test]
fn every_command_of_the_pages_is_one() {
    let mut seen = 0;
    for (page, text) in pages() {
        for command in commands(&text) {
            let words = filled_in(&command);
            seen += 1;
            let Err(error) = Cli::try_parse_from(std::iter::once("dags").chain(words.iter().map(String::as_str)))
            else {
                continue;
            };
            // A page may speak of a command, or of its flag, without all that it needs.
            let is_mention = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            assert!(is_mention, "{} says `dags {command}`: {error}", page.display());
        }
    }
    assert!(seen > 80 || pages().is_empty(), "{seen} commands were found");
}

#[test]
fn every_flag_of_the_pages_is_one() {
    fn flags(of: &clap::Command, into: &mut BTreeSet<String>) {
        into.extend(of.get_arguments().filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")));
        of.get_subcommands().for_each(|sub| flags(sub, into));
    }
    let mut known = BTreeSet::from(["--bin".to_owned(), "--help".to_owned()]);
    flags(&Cli::command(), &mut known);
    for (page, text) in pages() {
        for span in spans(&text) {
            let flag = span.split([' ', '=']).next().unwrap_or_default();
            assert!(!flag.starts_with("--") || known.contains(flag), "{} speaks of {flag}", page.display());
        }
    }
}
