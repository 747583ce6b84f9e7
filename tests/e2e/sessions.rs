//! The commands of docs/run.md, typed one after the other, answer what the page says.

use crate::program::Place;
use std::process::Command;

/// What begins a session on the page; its lines that begin with "$ " are commands, and the others what these print.
const BEGIN: &str = "```console";

#[test]
fn the_session_of_the_page_is_what_a_person_sees() {
    let page = include_str!("../../docs/run.md");
    let mut sessions = 0;
    for block in page.split(&format!("\n{BEGIN}\n")).skip(1) {
        let (session, _) = block.split_once("\n```").expect("the block ends");
        play(session);
        sessions += 1;
    }
    assert!(sessions > 0, "there is no {BEGIN} on the page");
}

/// A line that is `..` stands for any lines, and within a line for any text.
#[test]
fn a_page_that_says_something_else_is_noticed() {
    assert!(is_like("a\n..\nz 1.. end", "a\nb\nc\nz 12 34 end"));
    assert!(is_like("..\nz", "z"));
    for (page, answer) in
        [("a", "a\nb"), ("a\nb", "a"), ("..\nz", "z\ny"), ("took .. s", "took 3"), ("a .. b .. c", "a b c")]
    {
        assert!(!is_like(page, answer), "{page:?} is not {answer:?}");
    }
}

/// Runs the commands of one session in a folder of their own.
fn play(session: &str) {
    let place = Place::new();
    let commands = session.strip_prefix("$ ").expect("a session begins with a command").split("\n$ ");
    for command in commands {
        let (line, page) = command.split_once('\n').unwrap_or((command, ""));
        let args: Vec<&str> = line.strip_prefix("dags ").expect("commands of `dags` alone").split(' ').collect();
        let answer = seen(place.command(&args));
        assert!(is_like(page, answer.trim_end()), "`{line}` says on the page\n{page}\nbut in truth\n{answer}");
    }
}

/// All that a command prints, in its order: as on a screen.
fn seen(command: Command) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().expect("a place has a folder"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    String::from_utf8(shell.output().expect("sh is there").stdout).expect("text is UTF-8")
}

/// Is this the answer of the page?
fn is_like(page: &str, answer: &str) -> bool {
    let (page, answer): (Vec<&str>, Vec<&str>) = (page.lines().collect(), answer.lines().collect());
    matches(
        &page,
        &answer,
        |line| *line == "..",
        |page, line| {
            let (page, line): (Vec<char>, Vec<char>) =
                (page.replace("..", "\0").chars().collect(), line.chars().collect());
            matches(&page, &line, |letter| *letter == '\0', |one, other| one == other)
        },
    )
}

/// Is `text` what `pattern` says, in which some items stand for any number of items?
fn matches<T>(pattern: &[T], text: &[T], is_any: fn(&T) -> bool, is_same: fn(&T, &T) -> bool) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((first, rest)), _) if is_any(first) => {
            (0..=text.len()).any(|skipped| matches(rest, &text[skipped..], is_any, is_same))
        }
        (Some((first, pattern)), Some((item, text))) => is_same(first, item) && matches(pattern, text, is_any, is_same),
        (Some(_), None) => false,
    }
}
