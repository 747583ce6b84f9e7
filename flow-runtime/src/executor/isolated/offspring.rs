//! Ending a process with all that it has started.

use super::VARIABLE;
use rustix::process::{Pid, Signal, getpid, kill_process_group};

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
            kill_one(pid, token);
        }
    }
}

/// Kills this process, if it is still the one that has the token: its number may be another's by now.
#[cfg(target_os = "linux")]
fn kill_one(pid: Pid, token: &str) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if has_token(pid, token) {
        let _gone = pidfd_send_signal(&process, Signal::KILL);
    }
}

#[cfg(not(target_os = "linux"))]
fn kill_one(pid: Pid, token: &str) {
    if has_token(pid, token) {
        let _gone = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// The other processes in whose environment the token stands. Where there is no `/proc`, none are found.
fn with_token(token: &str) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| *pid != getpid() && has_token(*pid, token)).collect()
}

fn has_token(pid: Pid, token: &str) -> bool {
    // A zombie's is empty, another user's cannot be read.
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    let wanted = format!("{VARIABLE}={token}");
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
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
