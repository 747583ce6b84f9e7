//! A Postgres of our own on loopback, started once, gone with the test process.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

pub const PASSWORD: &str = "hush-4711";

/// Where the server programs may be, besides `PG_BIN`.
const FOLDERS: [&str; 4] =
    ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin", "/usr/local/pgsql/bin"];

/// Starts the server, and ends it when standard input closes: with the test process. At each line there it is killed, and started again
/// after as many seconds.
const KEEPER: &str = r#"
"$BIN/initdb" -D "$DATA" -U flow --pwfile="$DATA.password" --auth=scram-sha-256 --no-sync -E UTF8 --locale=C >/dev/null || exit 1
start() {
    "$BIN/postgres" -D "$DATA" -p "$PORT" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off </dev/null &
    server=$!
}
start
while read -r seconds; do
    kill -QUIT $server
    wait $server
    sleep "$seconds"
    start
done
kill -QUIT $server
wait $server
rm -rf "$DATA" "$DATA.password"
"#;

pub struct Cluster {
    port: u16,
    keeper: Child,
}

#[allow(dead_code, reason = "not every suite has one of its own")]
impl Cluster {
    /// A server for one test; `None` as [`url`].
    pub fn own() -> Option<Cluster> {
        url().and_then(|_| folder()).map(|folder| start(&folder))
    }

    pub fn url(&self) -> String {
        format!("postgres://flow:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// Kills the server, and starts it again after so many seconds. Does not wait for that.
    pub fn restart(&mut self, seconds: f64) {
        writeln!(self.keeper.stdin.as_mut().unwrap(), "{seconds}").unwrap();
    }
}

/// Where the programs of the server are.
fn folder() -> Option<PathBuf> {
    let own = std::env::var_os("PG_BIN").map(PathBuf::from);
    own.into_iter().chain(FOLDERS.map(PathBuf::from)).find(|folder| folder.join("initdb").exists())
}

/// The URL of the database, or `None` (said loudly) where no server is installed. With `CI=true` that fails.
pub fn url() -> Option<String> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| {
        let Some(folder) = folder() else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs a PostgreSQL server; none is installed");
            // Past the test harness's capture: a suite that tests less must say so.
            let told = format!("SKIPPED: no PostgreSQL server is installed (looked in PG_BIN and {FOLDERS:?})\n");
            std::io::stderr().write_all(told.as_bytes()).unwrap();
            return None;
        };
        Some(start(&folder))
    });
    cluster.as_ref().map(Cluster::url)
}

fn start(folder: &Path) -> Cluster {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let data = std::env::temp_dir().join(format!("flow-data-postgres-{}-{port}", std::process::id()));
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER]).env("BIN", folder).env("DATA", &data).env("PORT", port.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let password = data.with_extension("password");
    assert_eq!(password, PathBuf::from(format!("{}.password", data.display())));
    std::fs::write(&password, PASSWORD).unwrap();
    if let Some((user, group)) = other_user() {
        // The server refuses to run as root.
        std::os::unix::fs::chown(&password, Some(user), Some(group)).unwrap();
        command.uid(user).gid(group).current_dir("/");
    }
    let mut keeper = command.spawn().unwrap();
    let mut log = BufReader::new(keeper.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("ready to accept connections") {
        let read = log.read_line(&mut told).unwrap();
        assert!(read > 0, "PostgreSQL did not start: {told}");
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Cluster { port, keeper }
}

/// Who runs the server when we are root: `postgres`, else `nobody`.
pub fn other_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}
