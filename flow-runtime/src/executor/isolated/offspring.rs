//! Ending a process with all that it has started.

use super::VARIABLE;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

/// Kills the group that this process leads, and then whoever has the try's token in its environment: a process that left
/// the group (`setsid`) still has that. This process itself is spared, if it belongs to them.
///
/// Call it before the leader is reaped: until then nobody else can have got its number.
pub(super) fn kill(leader: Pid, token: &str) {
    if leader != getpid() {
        // ESRCH: it is gone, and its group with it.
        let _gone = kill_process_group(leader, Signal::KILL);
    }
    // One that is killed here may just have started another.
    for _ in 0..10 {
        let found = with_token(token);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _gone: Result<(), Errno> = kill_process(pid, Signal::KILL);
        }
    }
}

/// The other processes in whose environment the token stands. Where there is no `/proc`, none are found.
fn with_token(token: &str) -> Vec<Pid> {
    let wanted = format!("{VARIABLE}={token}").into_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != getpid()) else { continue };
        // A zombie's is empty, another user's cannot be read.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted) {
            found.push(pid);
        }
    }
    found
}

/// `SIGABRT (6)`
pub(super) fn signal_name(number: i32) -> String {
    const NAMES: [(i32, &str); 15] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (24, "SIGXCPU"),
        (25, "SIGXFSZ"),
    ];
    match NAMES.iter().find(|(n, _)| *n == number).filter(|_| cfg!(target_os = "linux")) {
        Some((_, name)) => format!("{name} ({number})"),
        None => format!("signal {number}"),
    }
}
