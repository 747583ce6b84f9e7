//! Files whose paths match a pattern.

use std::io;
use std::path::{Path, PathBuf};

/// The most files that are found.
pub(super) const MOST: usize = 10_000;

/// Why they cannot be found.
#[derive(Debug)]
pub(super) enum Problem {
    TooMany,
    Io(PathBuf, io::Error),
}

/// All paths that match, in order. `*` and `?` match within a name; a name that begins with a dot is matched by a pattern that
/// does.
pub(super) fn find(pattern: &str) -> Result<Vec<String>, Problem> {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![root.to_string()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in found {
            if part.contains(['*', '?']) {
                next.extend(matching(&folder, part)?);
            } else {
                let path = join(&folder, part);
                next.extend(Path::new(&path).exists().then_some(path));
            }
            if next.len() > MOST {
                return Err(Problem::TooMany);
            }
        }
        found = next;
    }
    found.retain(|path| path != root);
    found.sort_unstable();
    Ok(found)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() || folder.ends_with('/') { format!("{folder}{name}") } else { format!("{folder}/{name}") }
}

fn matching(folder: &str, part: &str) -> Result<Vec<String>, Problem> {
    let place = if folder.is_empty() { "." } else { folder };
    let failed = |error| Problem::Io(place.into(), error);
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        // It is not there yet, or it is a file.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // A name that is no text can be given to nobody.
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') == part.starts_with('.') && is_match(part.as_bytes(), name.as_bytes()) {
            found.push(join(folder, name));
        }
        if found.len() > MOST {
            return Err(Problem::TooMany);
        }
    }
    Ok(found)
}

/// In time linear in both but for stars, of which the last one alone is taken back.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                n += 1;
                // The rest of a character of several bytes.
                while name.get(n).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    n += 1;
                }
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_marks_match_within_a_name() {
        for (pattern, name, wanted) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.part", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("t?.csv", "tä.csv", true),
            ("t?.csv", "t.csv", false),
            ("*", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn folders_may_be_patterns_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("{}/{name}", folder.path().display());
        for name in ["b/1.csv", "a/2.csv", "a/1.csv", "a/.3.csv", "a/x.txt"] {
            let path = PathBuf::from(at(name));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        assert_eq!(find(&at("?/*.csv")).unwrap(), [at("a/1.csv"), at("a/2.csv"), at("b/1.csv")]);
        assert_eq!(find(&at("a/x.txt")).unwrap(), [at("a/x.txt")]);
        assert_eq!(find(&at("a/.*.csv")).unwrap(), [at("a/.3.csv")]);
        assert!(find(&at("c/*.csv")).unwrap().is_empty() && find(&at("a/x.txt/*")).unwrap().is_empty());
    }
}
