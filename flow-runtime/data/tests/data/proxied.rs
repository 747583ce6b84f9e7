//! Behind a proxy, which the environment names. The variables are those of a process of its own: others of this one go on without.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flow_data::{Error, Lake, Request, download_to, request, version_in};

use crate::server::{Reply, Server};

/// Asks for everything by this proxy, in a process of its own. `direct` is a server that it must not be asked for.
fn asks_for_all(folder: &Path, proxy: &str, direct: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "proxied::child", "--ignored", "--nocapture"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    command.env("HTTP_PROXY", proxy).env("HTTPS_PROXY", proxy).env("NO_PROXY", "127.0.0.1,.example.org");
    let done = command.env("PROXIED_FOLDER", folder).env("PROXIED_DIRECT", direct).output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains("hush"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test that starts a proxy"]
async fn child() {
    let Ok(folder) = std::env::var("PROXIED_FOLDER") else { return };
    let folder = Path::new(&folder);
    let direct = std::env::var("PROXIED_DIRECT").unwrap();
    for (url, name) in [("http://files.invalid/f.csv?sig=1", "far"), (direct.as_str(), "near")] {
        download_to(url, folder.join(name), &()).await.unwrap();
        let way = if name == "far" { "by the proxy" } else { "without" };
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), way);
    }
    let get = Request {
        method: "GET",
        url: "https://files.invalid/f",
        headers: Vec::new(),
        body: b"",
        timeout: Duration::from_secs(60),
        most_bytes: 1_000,
    };
    let error = request(&get).await.unwrap_err();
    assert!(matches!(error, Error::Request { .. }), "the proxy makes no tunnel: {error:?}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    let lake = Lake::new()
        .with("AWS_ENDPOINT", "http://store.invalid")
        .with("AWS_ALLOW_HTTP", "true")
        .with("AWS_ACCESS_KEY_ID", "flow")
        .with("AWS_SECRET_ACCESS_KEY", "flow-secret");
    assert!(version_in(&lake, "s3://lake/f").await.is_some_and(|version| version.contains("seen")));
}

#[test]
fn downloads_calls_and_stores_go_by_the_proxy_of_the_environment() {
    let proxy = Server::start(|r| match r.method.as_str() {
        "CONNECT" => Reply::new(403, ""),
        "HEAD" => Reply::new(200, "x").with("ETag", "\"seen\"").with("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
        _ => Reply::new(200, "by the proxy"),
    });
    let direct = Server::start(|_| Reply::new(200, "without"));
    let folder = tempfile::tempdir().unwrap();
    asks_for_all(folder.path(), &proxy.url.replace("http://", "http://me:hush@"), &direct.at("/g.csv"));
    let asked: Vec<_> = proxy.requests().iter().map(|r| format!("{} {}", r.method, r.target)).collect();
    let want =
        ["GET http://files.invalid/f.csv?sig=1", "CONNECT files.invalid:443", "HEAD http://store.invalid/lake/f"];
    assert_eq!(asked, want);
    // Base64 of `me:hush`.
    assert!(proxy.requests().iter().all(|r| r.header("proxy-authorization") == Some("Basic bWU6aHVzaA==")));
    assert_eq!(direct.requests().len(), 1);
}
