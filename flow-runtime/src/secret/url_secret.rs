//! Secrets that a URL carries, wherever it stands in a text. (flow-data has the same rules for its own messages; it knows
//! no flow, and flow does without it.)

use std::ops::Range;

/// Names of query parameters whose values are secrets, by a part of the name.
const SECRET_PARTS: [&str; 8] = ["password", "passwd", "pwd", "secret", "token", "signature", "credential", "apikey"];
/// The same, by the whole name.
const SECRET_NAMES: [&str; 6] = ["sig", "key", "api_key", "access_key", "accountkey", "sas"];
/// What begins the value of a password in a connection string.
const PAIR: &str = "password=";

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UrlSecret {
    /// Where it stands.
    pub(super) range: Range<usize>,
    /// It is a password before the `@`.
    pub(super) password: bool,
}

/// All secrets of all URLs in the text, in order; none that was taken out already.
pub(super) fn in_text(text: &str) -> Vec<UrlSecret> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(colon) = text[at..].find("://") {
        let start = at + colon + 3;
        pairs(text, at..start, &mut found);
        let end = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '|'))
            .map_or(text.len(), |end| start + end);
        let head = &text[at..start];
        url(text, start..end, head.ends_with("http://") || head.ends_with("https://"), &mut found);
        at = end;
    }
    pairs(text, at..text.len(), &mut found);
    found.retain(|secret| !secret.range.is_empty() && &text[secret.range.clone()] != super::MARK);
    found
}

/// What follows the `://` of one URL.
fn url(text: &str, part: Range<usize>, is_http: bool, found: &mut Vec<UrlSecret>) {
    let rest = &text[part.clone()];
    let after_user = match userinfo_end(rest) {
        None => 0,
        Some(at) => {
            match rest[..at].split_once(':') {
                Some((user, _)) => {
                    let password = part.start + user.len() + 1..part.start + at;
                    found.push(UrlSecret { range: password, password: true });
                }
                // A token that stands in place of a user.
                None if is_http => found.push(UrlSecret { range: part.start..part.start + at, password: false }),
                None => {}
            }
            at
        }
    };
    let Some(query) = rest[after_user..].find('?').map(|at| after_user + at + 1) else { return };
    let end = rest[query..].find('#').map_or(rest.len(), |at| query + at);
    let mut at = query;
    for pair in rest[query..end].split('&') {
        if let Some((name, value)) = pair.split_once('=')
            && is_secret(name)
        {
            let start = part.start + at + name.len() + 1;
            found.push(UrlSecret { range: start..start + value.len(), password: false });
        }
        at += pair.len() + 1;
    }
}

/// Where the `@` after user and password stands, also when the password holds a `/`, `?` or `@` that nobody escaped.
fn userinfo_end(rest: &str) -> Option<usize> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    let (_, port) = authority.split_once(':')?;
    // After a host and its port, an `@` further on belongs to the path.
    if port.bytes().all(|b| b.is_ascii_digit()) { None } else { rest.rfind('@') }
}

/// `password=..` as in a libpq connection string.
fn pairs(text: &str, part: Range<usize>, found: &mut Vec<UrlSecret>) {
    if !text[part.clone()].contains('=') {
        return;
    }
    let lower = text[part.clone()].to_ascii_lowercase();
    for (at, _) in lower.match_indices(PAIR) {
        let start = part.start + at + PAIR.len();
        let value = &text[start..part.end];
        let length = value.find(|c: char| c.is_whitespace() || matches!(c, '&' | ';' | '"')).unwrap_or(value.len());
        found.push(UrlSecret { range: start..start + length, password: false });
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.contains(&name.as_str()) || SECRET_PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use crate::secret::redact;

    #[test]
    fn secrets_of_urls_are_replaced_wherever_they_stand() {
        for (given, want) in [
            ("to postgres://ada:pass@h:5/db?x=1 and s3://k:v@b", "to postgres://ada:***@h:5/db?x=1 and s3://k:***@b"),
            ("postgres://a:p@ss@h/db", "postgres://a:***@h/db"),
            ("postgres://ada:pa/ss-word@h/db, then", "postgres://ada:***@h/db, then"),
            ("{\"u\":\"postgres://ada:pass@h/db\"}", "{\"u\":\"postgres://ada:***@h/db\"}"),
            ("http://host:80/a@b:c", "http://host:80/a@b:c"),
            ("postgres://ada:@h/db", "postgres://ada:@h/db"),
            ("postgres://ada:***@h", "postgres://ada:***@h"),
            ("https://t0ken@git.example/x", "https://***@git.example/x"),
            ("postgres://h/db?user=ada&password=hush&x=1", "postgres://h/db?user=ada&password=***&x=1"),
            ("https://h/o?X-Amz-Signature=abc&a=1#f", "https://h/o?X-Amz-Signature=***&a=1#f"),
            ("host=h password=hush dbname=d", "host=h password=*** dbname=d"),
            ("nothing to hide: a=b, c://d", "nothing to hide: a=b, c://d"),
        ] {
            assert_eq!(redact(given), want);
            assert_eq!(redact(want), want);
        }
    }
}
