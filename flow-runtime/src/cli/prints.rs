//! What tasks print by themselves, by `println!` or through a child process, is kept away from the results: it goes to
//! stderr, and while the live view is drawn, above it. Nobody can tell which task printed it, so it is in no log; what is
//! logged by `info!` is.

use super::observe::Watch;
use std::sync::Arc;

/// Keeps the prints of tasks away from the results until it is dropped.
pub struct Prints {
    #[cfg(unix)]
    above: Option<unix::Above>,
}

impl Prints {
    /// From now on. (Where the streams cannot be redirected, a task prints where it likes.)
    #[cfg(unix)]
    pub fn redirect(watch: &Arc<Watch>) -> Prints {
        let live = matches!(**watch, Watch::Live(_));
        let above = if live { unix::Above::start(watch.clone()).ok() } else { None };
        if above.is_none() {
            // Whoever cannot redirect sees both on stdout.
            let _ = rustix::stdio::dup2_stdout(std::io::stderr());
        }
        Prints { above }
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
        if let Some(above) = self.above.take() {
            above.end();
        }
    }
}

#[cfg(unix)]
mod unix {
    use super::Watch;
    use crate::secret;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::io::{self, PipeReader, Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{self, JoinHandle};

    /// Longest time until the end is noticed.
    const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    /// A line without end is cut here.
    const LONGEST: usize = 64 * 1024;

    /// Both streams of the process lead into a pipe, and what comes out of it is said above the live view.
    pub(super) struct Above {
        stderr: OwnedFd,
        over: Arc<AtomicBool>,
        reader: JoinHandle<()>,
    }

    impl Above {
        pub(super) fn start(watch: Arc<Watch>) -> io::Result<Above> {
            let stderr = io::stderr().as_fd().try_clone_to_owned()?;
            let (from, into) = io::pipe()?;
            let over = Arc::new(AtomicBool::new(false));
            let ends = over.clone();
            let reader = thread::Builder::new().name("flow-prints".into()).spawn(move || read(from, &ends, &watch))?;
            rustix::stdio::dup2_stdout(&into)?;
            rustix::stdio::dup2_stderr(&into)?;
            Ok(Above { stderr, over, reader })
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

    fn read(mut from: PipeReader, over: &AtomicBool, watch: &Watch) {
        let mut pending = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
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
                Ok(n) => pending.extend_from_slice(&chunk[..n]),
            }
            while let Some(end) =
                pending.iter().position(|b| *b == b'\n').or((pending.len() > LONGEST).then_some(LONGEST))
            {
                say(watch, &pending[..end]);
                pending.drain(..=end);
            }
        }
        if !pending.is_empty() {
            say(watch, &pending);
        }
    }

    fn say(watch: &Watch, line: &[u8]) {
        watch.say(&secret::redact(&String::from_utf8_lossy(line)));
    }
}
