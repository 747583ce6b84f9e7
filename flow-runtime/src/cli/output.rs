//! Where everything goes that a command says: results to stdout, the rest to stderr.
//!
//! Writing never fails for the caller. Who closes the pipe (`dags run taxi | head -1`) wants no more lines, and that is
//! no reason to stop a run; any other failure is remembered and told at the end.

use super::exit::{CliError, Exit};
use super::style::Paint;
use crate::secret;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use std::io::{self, IsTerminal, Write};

/// The two streams, and how to write on them.
pub struct Output {
    out: Mutex<Stream>,
    err: Mutex<Stream>,
    /// Nothing but JSON on stdout.
    pub json: bool,
    /// A person watches: the live view is in place.
    pub live: bool,
    /// Colours on stdout.
    pub paint: Paint,
    /// Colours on stderr.
    pub paint_err: Paint,
    /// Columns of the terminal; `None` where there is none, and a line may be as long as it likes.
    pub width: Option<usize>,
}

struct Stream {
    writer: Box<dyn Write + Send>,
    failed: Option<io::Error>,
}

impl Stream {
    fn new(writer: impl Write + Send + 'static) -> Mutex<Stream> {
        Mutex::new(Stream { writer: Box::new(writer), failed: None })
    }

    fn line(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = writeln!(self.writer, "{text}").and_then(|()| self.writer.flush()).err();
        }
    }
}

/// The stream under a descriptor of our own: where the process's lead may change while tasks run.
#[cfg(unix)]
fn duplicate(stream: &impl std::os::fd::AsFd) -> Option<std::fs::File> {
    stream.as_fd().try_clone_to_owned().ok().map(Into::into)
}

#[cfg(not(unix))]
fn duplicate<T>(_: &T) -> Option<std::fs::File> {
    None
}

#[cfg(unix)]
fn own(stream: impl Write + Send + std::os::fd::AsFd + 'static) -> Mutex<Stream> {
    match duplicate(&stream) {
        Some(file) => Stream::new(file),
        None => Stream::new(stream),
    }
}

#[cfg(not(unix))]
fn own(stream: impl Write + Send + 'static) -> Mutex<Stream> {
    Stream::new(stream)
}

impl Output {
    /// The process's own streams.
    pub fn standard(json: bool) -> Output {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stdout().is_terminal();
        let columns = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        Output {
            out: own(io::stdout()),
            err: own(io::stderr()),
            json,
            live: terminal && io::stderr().is_terminal() && !dumb && !json,
            // `console` knows NO_COLOR, CLICOLOR and CLICOLOR_FORCE.
            paint: Paint(console::colors_enabled() && !dumb && !json),
            paint_err: Paint(console::colors_enabled_stderr() && !dumb && !json),
            width: if terminal { columns.map(|c| c.max(40)) } else { None },
        }
    }

    /// The terminal behind stderr, wherever tasks print.
    pub fn terminal(&self) -> console::Term {
        match duplicate(&io::stderr()) {
            Some(stderr) => console::Term::read_write_pair(io::stdin(), stderr),
            None => console::Term::stderr(),
        }
    }

    /// Streams of a test, without colours.
    #[cfg(test)]
    pub fn captured(json: bool, out: &Captured, err: &Captured) -> Output {
        Output {
            out: Stream::new(out.clone()),
            err: Stream::new(err.clone()),
            json,
            live: false,
            paint: Paint(false),
            paint_err: Paint(false),
            width: None,
        }
    }

    /// A line of the result.
    pub fn line(&self, text: impl AsRef<str>) {
        self.out.lock().line(text.as_ref());
    }

    /// A thing, as JSON: on one line.
    pub fn json_line(&self, thing: &impl Serialize) {
        match serde_json::to_string(thing) {
            Ok(text) => self.line(text),
            Err(error) => self.note(format!("this cannot be written as JSON: {error}")),
        }
    }

    /// A thing or a listing, as JSON: laid out for people.
    pub fn json_pretty(&self, thing: &impl Serialize) {
        match serde_json::to_string_pretty(thing) {
            Ok(text) => self.line(text),
            Err(error) => self.note(format!("this cannot be written as JSON: {error}")),
        }
    }

    /// A remark for a person; with `--json` it is left out.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.json {
            self.err.lock().line(text.as_ref());
        }
    }

    /// Why the command could not do what was asked. Secrets are taken out.
    pub fn error(&self, error: &CliError) {
        let message = secret::redact(&error.message);
        let hints = error.hints.iter().map(|hint| secret::redact(hint));
        if self.json {
            let error = json!({"error": message, "hints": hints.collect::<Vec<_>>(), "exit_code": error.exit as u8});
            return self.err.lock().line(&error.to_string());
        }
        let mut err = self.err.lock();
        err.line(&format!("{} {}", self.paint_err.bad("error:"), message.replace('\n', "\n       ")));
        for hint in hints {
            err.line(&format!("  {} {hint}", self.paint_err.dim("·")));
        }
    }

    /// The end: `exit`, unless something could not be written.
    pub fn finish(&self, exit: Exit) -> Exit {
        match self.out.lock().failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.error(&CliError::outside(format!("stdout cannot be written: {error}")));
                if exit == Exit::Success { Exit::Outside } else { exit }
            }
            _ => exit,
        }
    }
}

/// What a test finds written.
#[cfg(test)]
#[derive(Clone, Default)]
pub struct Captured(std::sync::Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    /// The text so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("text is UTF-8")
    }
}

#[cfg(test)]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_stdout_clean_and_errors_on_one_line() {
        let (out, err) = (Captured::default(), Captured::default());
        let output = Output::captured(true, &out, &err);
        output.note("a remark");
        output.json_line(&json!({"a": 1}));
        output.error(&CliError::input("no").hint("try"));
        assert_eq!(out.text(), "{\"a\":1}\n");
        assert_eq!(err.text(), "{\"error\":\"no\",\"exit_code\":2,\"hints\":[\"try\"]}\n");
    }

    #[test]
    fn an_error_is_shown_with_its_hints_and_without_passwords() {
        let (out, err) = (Captured::default(), Captured::default());
        let output = Output::captured(false, &out, &err);
        output.error(&CliError::input("no postgres://u:hunter2@h/db\nand no more").hint("try"));
        assert_eq!(err.text(), "error: no postgres://u:***@h/db\n       and no more\n  · try\n");
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
        for (kind, exit) in [(io::ErrorKind::BrokenPipe, Exit::Success), (io::ErrorKind::StorageFull, Exit::Outside)] {
            let mut output = Output::captured(false, &Captured::default(), &Captured::default());
            output.out = Stream::new(Broken(kind));
            output.line("one");
            output.line("two");
            assert_eq!(output.finish(Exit::Success), exit);
        }
    }
}
