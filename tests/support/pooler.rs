//! A PgBouncer of our own before the [`cluster`](crate::cluster), which hands out connections by the transaction; gone with the
//! test process.

use crate::cluster;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use url::Url;

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// Ends the pooler when standard input closes: with the test process.
const KEEPER: &str = r#"
"$PROGRAM" -q "$CONFIG" </dev/null >/dev/null 2>&1 &
server=$!
cat >/dev/null
kill -TERM $server
wait $server
rm -f "$CONFIG"
"#;

struct Pooler {
    port: u16,
    _keeper: Child,
}

/// The URL of a database of the cluster through the pooler, or `None` (said loudly) where none is installed. With `CI=true`
/// that fails.
pub fn url(database: &str) -> Option<String> {
    static POOLER: OnceLock<Option<Pooler>> = OnceLock::new();
    let behind = cluster::url()?;
    let pooler = POOLER.get_or_init(|| {
        if !Path::new(PROGRAM).exists() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs PgBouncer; {PROGRAM} is not there");
            // Past the test harness's capture: a suite that tests less must say so.
            let told = format!("SKIPPED: PgBouncer is not installed ({PROGRAM})\n");
            std::io::stderr().write_all(told.as_bytes()).unwrap();
            return None;
        }
        Some(start(&behind))
    });
    pooler.as_ref().map(|pooler| format!("postgres://flow@127.0.0.1:{}/{database}", pooler.port))
}

fn start(behind: &str) -> Pooler {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let behind = Url::parse(behind).unwrap();
    let config = std::env::temp_dir().join(format!("flow-pgbouncer-{}-{port}.ini", std::process::id()));
    // Fewer connections than the tests have clients, so that they get each other's.
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={} user=flow password={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n\
         max_client_conn = 500\nserver_idle_timeout = 2\n",
        behind.port().unwrap(),
        cluster::PASSWORD,
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER]).env("PROGRAM", PROGRAM).env("CONFIG", &config);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = cluster::other_user() {
        // The pooler refuses to run as root.
        std::os::unix::fs::chown(&config, Some(user), Some(group)).unwrap();
        command.uid(user).gid(group).current_dir("/");
    }
    let keeper = command.spawn().unwrap();
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "PgBouncer did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    Pooler { port, _keeper: keeper }
}
