//! What tasks print by themselves, by `println!` or through a child process, is kept away from the results: it goes to
//! stderr, and while the live view is drawn, above it. Nobody can tell which task printed it, so it is in no log; what is
//! logged by `info!` is. Where there are secrets, it is searched for them on its way.

use super::observe::Watch;
#[cfg(unix)]
use crate::secret;
use std::sync::Arc;

/// Keeps the prints of tasks away from the results until it is dropped.
pub struct Prints {
    #[cfg(unix)]
    piped: Option<unix::Piped>,
}

impl Prints {
    /// From now on. (Where the streams cannot be redirected, a task prints where it likes.)
    #[cfg(unix)]
    pub fn redirect(watch: &Arc<Watch>) -> Prints {
        // Straight to stderr where nothing speaks against it: then the last words of a crash are not lost in a pipe.
        let through_a_pipe = matches!(**watch, Watch::Live(_)) || secret::any();
        let piped = if through_a_pipe { unix::Piped::start(watch.clone()).ok() } else { None };
        if piped.is_none() {
            // Whoever cannot redirect sees both on stdout.
            let _ = rustix::stdio::dup2_stdout(std::io::stderr());
        }
        Prints { piped }
    }

    /// Not on this system.
    #[cfg(not(unix))]
    pub fn redirect(_: &Arc<Watch>) -> Prints {
        Prints {}
    }
}

#[cfg(unix)]
impl Drop for Prints {
    fn drop(&mut self) {
        if let Some(piped) = self.piped.take() {
            piped.end();
        }
    }
}

#[cfg(unix)]
mod unix {
    use super::Watch;
    use crate::lines::Lines;
    use crate::secret;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::fs::File;
    use std::io::{self, PipeReader, Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{self, JoinHandle};

    /// Longest time until the end is noticed.
    const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    /// What is still read at the end: as much as a pipe may hold. A child process that was left behind may print for ever.
    const LAST_BYTES: usize = 1 << 20;

    /// Both streams of the process lead into a pipe, and what comes out of it is said above the live view, or on stderr.
    pub(super) struct Piped {
        stderr: OwnedFd,
        over: Arc<AtomicBool>,
        reader: JoinHandle<()>,
    }

    impl Piped {
        pub(super) fn start(watch: Arc<Watch>) -> io::Result<Piped> {
            let stderr = io::stderr().as_fd().try_clone_to_owned()?;
            let mut beside = File::from(stderr.try_clone()?);
            let (from, into) = io::pipe()?;
            let over = Arc::new(AtomicBool::new(false));
            let ends = over.clone();
            let say = move |line: &[u8]| {
                let text = String::from_utf8_lossy(line);
                let text = secret::redact(&text);
                match &*watch {
                    Watch::Live(live) => live.say(&text),
                    // There is nobody to tell that stderr is closed.
                    _ => drop(beside.write_all(format!("{text}\n").as_bytes())),
                }
            };
            let reader = thread::Builder::new().name("flow-prints".into()).spawn(move || read(from, &ends, say))?;
            rustix::stdio::dup2_stdout(&into)?;
            rustix::stdio::dup2_stderr(&into)?;
            Ok(Piped { stderr, over, reader })
        }

        /// What was printed so far is said; what comes later goes to stderr.
        pub(super) fn end(self) {
            drop(io::stdout().flush());
            let _ = rustix::stdio::dup2_stdout(&self.stderr);
            let _ = rustix::stdio::dup2_stderr(&self.stderr);
            // A child process may hold the pipe open for ever: its end is no sign.
            self.over.store(true, Ordering::Release);
            drop(self.reader.join());
        }
    }

    fn read(mut from: PipeReader, over: &AtomicBool, mut say: impl FnMut(&[u8])) {
        let mut lines = Lines::default();
        let mut chunk = vec![0; 16 * 1024];
        let mut last_bytes = LAST_BYTES;
        while last_bytes > 0 {
            let ending = over.load(Ordering::Acquire);
            let ready = poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&NAP));
            match ready {
                Ok(0) if ending => break,
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => break,
            }
            match from.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    lines.push(&chunk[..n], &mut say);
                    last_bytes = if ending { last_bytes.saturating_sub(n) } else { LAST_BYTES };
                }
            }
        }
        lines.finish(say);
    }
}
