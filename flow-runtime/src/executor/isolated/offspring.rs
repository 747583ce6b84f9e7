//! Ending a process with all that it has started.

use super::{COMMAND, VARIABLE};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, getpid, kill_process_group};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The leaders that have not ended yet.
static LEADERS: Mutex<BTreeMap<i32, Mark>> = Mutex::new(BTreeMap::new());

/// A process that this one has started, which leads a group: dropped, it is killed with all that it has started. Keep it in
/// front of the child itself: whoever is reaped may have given his number to another.
#[derive(Debug)]
pub(crate) struct Leader {
    pid: Pid,
    mark: Mark,
    ended: bool,
}

impl Leader {
    /// Starts one by this command, which gives it a group and the mark.
    pub(crate) fn start(command: &mut Command, mark: Mark) -> io::Result<(Leader, Child)> {
        // Locked first: there is none that is not listed.
        let mut leaders = LEADERS.lock();
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| io::Error::other("the process has no number"))?;
        leaders.insert(pid.as_raw_nonzero().get(), mark.clone());
        Ok((Leader { pid, mark, ended: false }, child))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Kills what is left of them. From now on it may be reaped.
    pub(crate) async fn end(&mut self) {
        let (pid, mark) = (self.pid, self.mark.clone());
        // It looks at every process there is.
        drop(tokio::task::spawn_blocking(move || kill(pid, &mark)).await);
        self.ended();
    }

    fn ended(&mut self) {
        self.ended = true;
        LEADERS.lock().remove(&self.pid.as_raw_nonzero().get());
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.ended {
            kill(self.pid, &self.mark);
            self.ended();
        }
    }
}

/// Kills all that this process has started and not seen the end of. It is for the end of the process, which does not wait for
/// the threads that would drop them.
#[cfg(feature = "cli")]
pub(crate) fn end_all() {
    // Held: none is reaped meanwhile.
    end_these(&LEADERS.lock());
}

#[cfg(any(test, feature = "cli"))]
fn end_these(leaders: &BTreeMap<i32, Mark>) {
    for pid in leaders.keys().filter_map(|pid| Pid::from_raw(*pid)) {
        let _gone = kill_process_group(pid, Signal::KILL);
    }
    if !leaders.is_empty() {
        kill_marked(&leaders.values().cloned().collect::<Vec<_>>());
    }
}

/// What is in the environment of all processes that belong together, and of nobody else.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    variable: &'static str,
    word: String,
    /// Words that go on after it are meant as well.
    open: bool,
}

impl Mark {
    /// That of a try with a process of its own.
    pub(super) fn of_isolated(token: &str) -> Mark {
        Mark { variable: VARIABLE, word: token.into(), open: false }
    }

    /// That of one more command of this try.
    #[cfg(feature = "macros")]
    pub(crate) fn of_command(ctx: &crate::Context) -> Mark {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let map_index = ctx.map_index().map_or(flow_core::UNMAPPED, u32::cast_signed);
        let ids = [ctx.dag_id(), ctx.run_id(), ctx.task_id()];
        let of_try = Mark::of_commands(ctx.home(), ids, map_index, ctx.try_number());
        let (me, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Mark { word: format!("{}{me}-{number}", of_try.word), open: false, ..of_try }
    }

    /// That of all commands of a try, also for a process that comes later. `ids` are those of DAG, run and task.
    pub(crate) fn of_commands(home: &Path, ids: [&str; 3], map_index: i32, try_number: u32) -> Mark {
        let home = std::fs::canonicalize(home).unwrap_or_else(|_| home.to_path_buf());
        let text = serde_json::json!([home.to_string_lossy(), ids, map_index, try_number]).to_string();
        let hash: String = Sha256::digest(text).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Mark { variable: COMMAND, word: format!("{hash}-"), open: true }
    }

    /// The variable that all of them must have, and its value: the words of whoever has started this process are kept, for
    /// they end with that one.
    #[cfg(feature = "macros")]
    pub(crate) fn variable(&self) -> (&'static str, String) {
        let before = std::env::var(self.variable).unwrap_or_default();
        (self.variable, format!("{before} {}", self.word).trim().to_string())
    }

    fn is_in(&self, value: &[u8]) -> bool {
        let mine =
            |word: &[u8]| if self.open { word.starts_with(self.word.as_bytes()) } else { word == self.word.as_bytes() };
        value.split(|byte| *byte == b' ').any(mine)
    }
}

/// Kills the group that this process leads, and then whoever has the mark in its environment: a process that left the group
/// (`setsid`) still has that. This process itself is spared, if it belongs to them.
///
/// Call it before the leader is reaped: until then nobody else can have got its number.
pub(crate) fn kill(leader: Pid, mark: &Mark) {
    if leader != getpid() {
        // ESRCH: it is gone, and its group with it.
        let _gone = kill_process_group(leader, Signal::KILL);
    }
    kill_marked(std::slice::from_ref(mark));
}

/// Kills whoever has one of these marks. Says how many were found.
pub(crate) fn kill_marked(marks: &[Mark]) -> usize {
    let mut killed = 0;
    let mut patience = PATIENCE;
    // One that is killed here, or ends by itself, may just have started another.
    for round in 0..10 {
        let Found { with, unclear } = looked_for(marks);
        if with.is_empty() && (unclear.is_empty() || patience.is_zero()) {
            break;
        }
        killed += with.len();
        for pid in with {
            kill_one(pid, marks);
        }
        let became = became(unclear, marks, &mut patience);
        killed += became.len();
        for pid in became {
            kill_one(pid, marks);
        }
        // It dies when it is its turn to run.
        std::thread::sleep(MOMENT * round);
    }
    killed
}

/// A process becomes another program in less: the kernel reads its file, which may be on a slow disk.
const PATIENCE: Duration = Duration::from_millis(250);
const MOMENT: Duration = Duration::from_millis(1);

/// Those of these processes that have a mark, once it can be seen.
fn became(mut unclear: Vec<Pid>, marks: &[Mark], patience: &mut Duration) -> Vec<Pid> {
    let mut with = Vec::new();
    while !unclear.is_empty() && !patience.is_zero() {
        std::thread::sleep(MOMENT);
        *patience = patience.saturating_sub(MOMENT);
        unclear.retain(|pid| match seen(*pid, marks) {
            Seen::Unclear => true,
            Seen::Marked => {
                with.push(*pid);
                false
            }
            Seen::Another => false,
        });
    }
    with
}

/// Kills this process, if it is still the one that has a mark: its number may be another's by now.
#[cfg(target_os = "linux")]
fn kill_one(pid: Pid, marks: &[Mark]) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if is_marked(pid, marks) {
        let _gone = pidfd_send_signal(&process, Signal::KILL);
    }
}

#[cfg(not(target_os = "linux"))]
fn kill_one(pid: Pid, marks: &[Mark]) {
    if is_marked(pid, marks) {
        let _gone = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// The other processes that have a mark, and those of which it cannot be seen yet.
#[derive(Default)]
struct Found {
    with: Vec<Pid>,
    unclear: Vec<Pid>,
}

/// What the environment of a process says.
enum Seen {
    Marked,
    Another,
    Unclear,
}

/// Looks at every other process. Where there is no `/proc`, none are found.
fn looked_for(marks: &[Mark]) -> Found {
    let mut found = Found::default();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    for pid in pids.filter(|pid| *pid != getpid()) {
        match seen(pid, marks) {
            Seen::Marked => found.with.push(pid),
            Seen::Unclear => found.unclear.push(pid),
            Seen::Another => {}
        }
    }
    found
}

fn seen(pid: Pid, marks: &[Mark]) -> Seen {
    match about(pid, "environ") {
        Ok(environment) if has(&environment, marks) => Seen::Marked,
        Ok(environment) if environment.is_empty() && is_becoming(pid) => Seen::Unclear,
        // Another user's cannot be read.
        _ => Seen::Another,
    }
}

/// Is it in the middle of `exec`? For that moment it shows neither arguments nor an environment, as a zombie and a thread of
/// the kernel do, which have no program. What is opened before that moment and read after it seems empty as well, whatever
/// the process has: one that has arguments, and each time no environment, has none.
fn is_becoming(pid: Pid) -> bool {
    let is_empty = |what| about(pid, what).is_ok_and(|text| text.is_empty());
    let has_program = std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).is_ok();
    has_program && !(0..3).all(|_| !is_empty("cmdline") && is_empty("environ"))
}

fn is_marked(pid: Pid, marks: &[Mark]) -> bool {
    about(pid, "environ").is_ok_and(|environment| has(&environment, marks))
}

/// A file of `/proc` about this process, in one reading: what is read in parts ends early if the process becomes another
/// program in between.
fn about(pid: Pid, what: &str) -> io::Result<Vec<u8>> {
    let file = File::open(format!("/proc/{}/{what}", pid.as_raw_nonzero()))?;
    let mut text = vec![0; 64 * 1024];
    loop {
        match file.read_at(&mut text, 0)? {
            read if read < text.len() => {
                text.truncate(read);
                return Ok(text);
            }
            all => text.resize(4 * all, 0),
        }
    }
}

fn has(environment: &[u8], marks: &[Mark]) -> bool {
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| {
        let value = |mark: &Mark| variable.strip_prefix(mark.variable.as_bytes())?.strip_prefix(b"=");
        marks.iter().any(|mark| value(mark).is_some_and(|value| mark.is_in(value)))
    })
}

/// `SIGABRT (6)`
pub(crate) fn signal_name(number: i32) -> String {
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

#[cfg(all(test, feature = "macros"))]
mod tests {
    use super::*;
    use crate::Context;

    fn marked(mark: &Mark) -> Vec<Pid> {
        looked_for(std::slice::from_ref(mark)).with
    }

    #[tokio::test]
    async fn at_the_end_of_the_process_nothing_is_left_that_it_has_started() {
        let mark = Mark::of_command(&Context::test());
        let (variable, value) = mark.variable();
        let mut shell = Command::new("sh");
        shell.args(["-c", "setsid sleep 600 & sleep 600; :"]).env(variable, value);
        let (leader, mut child) = Leader::start(&mut shell, mark.clone()).unwrap();
        while marked(&mark).len() < 3 {
            std::thread::yield_now();
        }
        // Those of other tests go on.
        let pid = leader.pid().as_raw_nonzero().get();
        let of_this_test = LEADERS.lock().get_key_value(&pid).map(|(pid, mark)| (*pid, mark.clone()));
        end_these(&of_this_test.into_iter().collect());
        assert!(!child.wait().await.unwrap().success());
        while !marked(&mark).is_empty() {
            std::thread::yield_now();
        }
        drop(leader);
        assert!(!LEADERS.lock().contains_key(&pid));
    }

    /// A process that leaves the group shows no environment for a moment, while it becomes another program.
    #[tokio::test]
    async fn what_is_just_being_started_is_ended_as_well() {
        let mut marks = Vec::new();
        for n in 0..100 {
            let mark = Mark::of_command(&Context::test());
            let (variable, value) = mark.variable();
            let mut shell = Command::new("sh");
            let becoming = "exec sh -c 'exec sh -c \"exec sleep 600\"'";
            shell.args(["-c", "setsid sh -c \"$0\" & :", becoming]).env(variable, value);
            let (mut leader, mut child) = Leader::start(&mut shell, mark.clone()).unwrap();
            let pid = leader.pid();
            let exited = move || {
                use rustix::process::{WaitId, WaitIdOptions, waitid};
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            };
            tokio::task::spawn_blocking(exited).await.unwrap().unwrap();
            std::thread::sleep(Duration::from_micros(50 * n));
            leader.end().await;
            child.wait().await.unwrap();
            marks.push(mark);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(kill_marked(&marks), 0);
    }

    #[test]
    fn a_command_has_the_mark_of_its_try_and_one_of_its_own() {
        let ctx = Context::test();
        let (one, other) = (Mark::of_command(&ctx), Mark::of_command(&ctx));
        let ids = [ctx.dag_id(), ctx.run_id(), ctx.task_id()];
        let of_try = Mark::of_commands(ctx.home(), ids, flow_core::UNMAPPED, 1);
        let value = format!("of-an-outer-one {}", one.word);
        assert!(one.is_in(value.as_bytes()) && of_try.is_in(value.as_bytes()) && !other.is_in(value.as_bytes()));
        let next = Mark::of_commands(ctx.home(), ids, flow_core::UNMAPPED, 2);
        assert!(!next.is_in(value.as_bytes()), "another try");
    }
}
