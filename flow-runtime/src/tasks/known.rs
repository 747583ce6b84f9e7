//! What rows are known by: where they came from, in words that stay the same from run to run.

use std::path::{Component, Path, PathBuf};

/// A signature in a URL.
struct Signature {
    /// It is one if it has all of these parameters.
    by: &'static [&'static str],
    /// What comes and goes with it.
    belongs: fn(&str) -> bool,
}

const SIGNATURES: [Signature; 8] = [
    Signature { by: &["x-amz-signature"], belongs: |name| name.starts_with("x-amz-") },
    Signature { by: &["x-goog-signature"], belongs: |name| name.starts_with("x-goog-") },
    // Azure's shared access signatures; others of that name have no version.
    Signature { by: &["sig", "sv"], belongs: |name| SHARED_ACCESS.contains(&name) },
    Signature { by: &["sig"], belongs: |name| name == "sig" },
    // Those of S3 and Google before, and of CloudFront. What else is called so has no such company.
    Signature { by: &["signature", "awsaccesskeyid"], belongs: |name| BEFORE.contains(&name) },
    Signature { by: &["signature", "googleaccessid"], belongs: |name| BEFORE.contains(&name) },
    Signature { by: &["signature", "key-pair-id"], belongs: |name| name == "policy" || BEFORE.contains(&name) },
    Signature { by: &["signature"], belongs: |name| name == "signature" },
];
const SHARED_ACCESS: [&str; 21] = [
    "sig", "sv", "se", "st", "sp", "sr", "srt", "ss", "spr", "sip", "si", "skoid", "sktid", "skt", "ske", "sks", "skv",
    "saoid", "suoid", "scid", "sdd",
];
const BEFORE: [&str; 6] =
    ["signature", "expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "x-amz-security-token"];

/// The key of the hashes, in the home folder.
const KEY: &str = "source.key";

/// What the rows of a URL are known by: the URL without its secrets. A signature is left out with all that belongs to it, for the next
/// one of the same file is another. Where something else of the query is hidden, a short hash of the whole tells apart what would
/// look the same. It is made with a key that lies in the home folder: rows are read by many, who could try short secrets against it.
///
/// # Errors
/// That key cannot be read or made.
pub(super) fn source(home: &Path, url: &str) -> Result<String, flow_data::Error> {
    let (whole, fragment) = url.find('#').map_or((url, ""), |at| url.split_at(at));
    let Some((place, query)) = whole.split_once('?').filter(|_| whole.contains("://")) else {
        return Ok(flow_data::redact(url));
    };
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let names: Vec<String> = query.split('&').map(name).collect();
    let has = |sign: &&str| names.iter().any(|name| name == sign);
    let signatures: Vec<_> = SIGNATURES.iter().filter(|signature| signature.by.iter().all(has)).collect();
    let belongs = |pair: &&str| signatures.iter().any(|signature| (signature.belongs)(&name(pair)));
    let pairs: Vec<&str> = query.split('&').filter(|pair| !belongs(pair)).collect();
    let hides = |pair: &&str| flow_data::redact(&format!("x://x?{pair}")) != format!("x://x?{pair}");
    let is_hidden = pairs.iter().any(hides);
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    // Pair by pair: to whoever looks for URLs in a text, some letters end one that are good in a query.
    let mark = |pair: &&str| match hides(pair) {
        true => format!("{}=***", pair.split('=').next().unwrap_or_default()),
        false => (*pair).to_owned(),
    };
    let marked: Vec<String> = pairs.iter().map(mark).collect();
    let marked = if marked.is_empty() { String::new() } else { format!("?{}", marked.join("&")) };
    let shown = format!("{}{marked}{fragment}", flow_data::redact(place));
    if !is_hidden {
        return Ok(shown);
    }
    // Not the password: who else fetches the file fetches the same.
    let hash = flow_data::keyed_hash(&home.join(KEY), &format!("{}{query}", flow_data::redact(place)))?;
    Ok(format!("{shown}{}sha256={}", if fragment.is_empty() { '#' } else { '&' }, &hash[..12]))
}

/// The absolute path without `.` and `..`; nothing is looked up, so that a link stays what it is called.
pub(super) fn path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut tidy = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(tidy.pop()),
            part => tidy.push(part),
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static HOME: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

    fn source(url: &str) -> String {
        super::source(HOME.path(), url).unwrap()
    }

    #[test]
    fn a_url_with_nothing_hidden_in_its_query_is_as_it_was() {
        for (url, known) in [
            ("http://h/f.csv", "http://h/f.csv"),
            ("http://h/f?month=2021-01&se=3#top", "http://h/f?month=2021-01&se=3#top"),
            ("http://ada:hush-hush@h/f?month=1", "http://ada:***@h/f?month=1"),
            ("/in/a?key=1.csv", "/in/a?key=1.csv"),
            ("gs://lake/f", "gs://lake/f"),
        ] {
            assert_eq!(source(url), known);
        }
    }

    #[test]
    fn what_is_hidden_is_told_apart_and_not_told() {
        let (january, february) = (source("http://h/f?key=2021-01"), source("http://h/f?key=2021-02"));
        assert!(january.starts_with("http://h/f?key=***#sha256=") && january.len() == 38, "{january}");
        assert_ne!(january, february);
        assert_eq!(january, source("http://h/f?key=2021-01"));
        assert_eq!(source("http://a:b@h/f?key=1")[16..], source("http://a:c@h/f?key=1")[16..], "who fetches it");
        assert!(source("http://h/f?key=1#top").contains("key=***#top&sha256="));
        assert_eq!(flow_data::redact(&january), january);
        for odd in ["|", "'", "`", "<"] {
            let known = source(&format!("http://h/f?titles=a{odd}b&key=hush-hush"));
            assert!(known.starts_with(&format!("http://h/f?titles=a{odd}b&key=***#sha256=")), "{known}");
        }
    }

    /// Who reads the rows and tries all keys of four digits finds none.
    #[test]
    fn a_short_secret_cannot_be_tried() {
        use sha2::{Digest as _, Sha256};
        let known = source("http://h/f?key=0007");
        for key in 0..10_000 {
            let digest = Sha256::digest(format!("http://h/f?key={key:04}"));
            let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            assert!(!known.ends_with(&hash), "{known}");
        }
        let other = tempfile::tempdir().unwrap();
        assert_ne!(super::source(other.path(), "http://h/f?key=0007").unwrap(), known);
        assert_eq!(super::source(other.path(), "http://h/f").unwrap(), "http://h/f");
        std::fs::write(other.path().join(KEY), "broken").unwrap();
        assert!(super::source(other.path(), "http://h/f?key=0007").is_err());
        assert_eq!(super::source(other.path(), "http://h/f").unwrap(), "http://h/f", "nothing is hidden");
    }

    #[test]
    fn a_signature_is_no_part_of_it() {
        for url in [
            "https://h/f?X-Amz-Algorithm=A&X-Amz-Credential=c&X-Amz-Date=20210101&X-Amz-Signature=aa",
            "https://h/f?X-Goog-Date=20210101&x-goog-signature=aa&X-Goog-Expires=60",
            "https://h/f?sv=2021-08-06&se=2021-01-01&sr=b&sp=r&sig=aa%3D",
            "https://h/f?AWSAccessKeyId=a&Expires=1609459200&Signature=aa",
            "https://h/f?Policy=p&Signature=aa&Key-Pair-Id=k",
            "https://h/f?sig=aa",
        ] {
            assert_eq!(source(url), "https://h/f");
        }
        assert_eq!(source("https://h/f?st=1&sig=aa"), "https://h/f?st=1");
        assert_eq!(source("https://h/f?policy=A&signature=aa"), "https://h/f?policy=A", "an insurance, say");
        let known = |key: &str, sign: &str| source(&format!("https://h/f?key={key}&v=2&se={sign}&sv=1&sig={sign}"));
        assert_eq!(known("january", "a"), known("january", "b"));
        assert_ne!(known("january", "a"), known("february", "a"));
        assert!(known("january", "a").starts_with("https://h/f?key=***&v=2#sha256="));
    }

    #[test]
    fn a_path_has_one_name() {
        for given in ["/in/day.csv", "/in/./day.csv", "/in//x/../day.csv", "/../in/day.csv"] {
            assert_eq!(path(Path::new(given)), Path::new("/in/day.csv"), "{given}");
        }
        assert_eq!(path(Path::new("day.csv")), std::env::current_dir().unwrap().join("day.csv"));
    }
}
