//! Secrets in URLs, made unreadable.

use url::Url;

const HIDDEN: &str = "***";

/// Names of query parameters whose values are secrets, by a part of the name.
const SECRET_PARTS: [&str; 8] = ["password", "passwd", "pwd", "secret", "token", "signature", "credential", "apikey"];
/// The same, by the whole name.
const SECRET_NAMES: [&str; 6] = ["sig", "key", "api_key", "access_key", "accountkey", "sas"];

/// The text with the secrets of every URL in it replaced by `***`: passwords before the `@`, tokens that stand in place of a
/// user in `http` URLs, values of query parameters such as `password`, `token`, `sig` or `X-Amz-Signature`; and values
/// of `password=` anywhere. Text without secrets comes back as it is.
///
/// ```
/// assert_eq!(flow_data::redact("postgres://me:hush@db/taxi"), "postgres://me:***@db/taxi");
/// ```
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(&redact_pairs(head));
        let end = tail
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '|'))
            .unwrap_or(tail.len());
        let is_http = head.ends_with("http://") || head.ends_with("https://");
        out.push_str(&redact_after_scheme(&tail[..end], is_http));
        rest = &tail[end..];
    }
    out.push_str(&redact_pairs(rest));
    out
}

/// [`redact`], and the URL's own password wherever else the text repeats it.
pub(crate) fn scrub(message: &str, url: &str) -> String {
    let mut text = redact(message);
    let Some(raw) = password_of(url) else {
        return text;
    };
    let decoded = Url::parse(url).ok().and_then(|u| {
        let raw = u.password()?.to_owned();
        let pair = format!("x={}", raw.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    });
    for secret in [Some(raw), decoded].into_iter().flatten().filter(|s| s.len() >= 3) {
        text = text.replace(&secret, HIDDEN);
    }
    text
}

fn password_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let at = userinfo_end(rest)?;
    Some(rest[..at].split_once(':')?.1.to_owned())
}

/// Where the `@` after user and password stands, also when the password holds a `/`, `?` or `@` that nobody escaped.
fn userinfo_end(rest: &str) -> Option<usize> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    let (_, port) = authority.split_once(':')?;
    if port.bytes().all(|b| b.is_ascii_digit()) {
        return None; // a host and its port; an `@` further on belongs to the path
    }
    rest.rfind('@')
}

fn redact_after_scheme(rest: &str, is_http: bool) -> String {
    let (user, rest) = match userinfo_end(rest) {
        Some(at) => rest.split_at(at),
        None => ("", rest),
    };
    let mut out = match user.split_once(':') {
        Some((name, _)) => format!("{name}:{HIDDEN}"),
        None if is_http && !user.is_empty() => HIDDEN.to_owned(),
        None => user.to_owned(),
    };
    match rest.split_once('?') {
        None => out.push_str(rest),
        Some((path, query)) => {
            let (query, fragment) = query.find('#').map_or((query, ""), |at| query.split_at(at));
            out.push_str(path);
            for (n, pair) in query.split('&').enumerate() {
                out.push(if n == 0 { '?' } else { '&' });
                match pair.split_once('=') {
                    Some((name, _)) if is_secret(name) => out.push_str(&format!("{name}={HIDDEN}")),
                    _ => out.push_str(pair),
                }
            }
            out.push_str(fragment);
        }
    }
    out
}

/// `password=..` as in a libpq connection string.
fn redact_pairs(text: &str) -> String {
    const NAME: &str = "password=";
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find(NAME) {
        let (head, value) = rest.split_at(at + NAME.len());
        let end = value.find(|c: char| c.is_whitespace() || matches!(c, '&' | ';' | '"')).unwrap_or(value.len());
        out.push_str(head);
        out.push_str(if end == 0 { "" } else { HIDDEN });
        rest = &value[end..];
    }
    out.push_str(rest);
    out
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.contains(&name.as_str()) || SECRET_PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_vanish_and_the_rest_stays() {
        for (given, want) in [
            ("postgres://me:hush@db:5432/taxi", "postgres://me:***@db:5432/taxi"),
            ("postgres://me:@db/taxi", "postgres://me:***@db/taxi"),
            ("postgres://me@db/taxi", "postgres://me@db/taxi"),
            ("postgres://me:a/b@db/taxi", "postgres://me:***@db/taxi"),
            ("postgres://me:a@b@db/taxi", "postgres://me:***@db/taxi"),
            ("postgres://db/taxi?user=me&password=hush", "postgres://db/taxi?user=me&password=***"),
            ("https://tok3n@host/file.csv", "https://***@host/file.csv"),
            ("http://host:8080/a@b?x=1#top", "http://host:8080/a@b?x=1#top"),
            ("https://h/f?X-Amz-Signature=abc&v=2&sig=d#e", "https://h/f?X-Amz-Signature=***&v=2&sig=***#e"),
            ("sqlite:///tmp/taxi.db", "sqlite:///tmp/taxi.db"),
            ("host=db user=me password=hush dbname=taxi", "host=db user=me password=*** dbname=taxi"),
            ("error for url (http://u:p@h/): no", "error for url (http://u:***@h/): no"),
            ("two: a://u:p@h and \"b://v:q@i\"", "two: a://u:***@h and \"b://v:***@i\""),
            ("plain text: nothing to hide @ all", "plain text: nothing to hide @ all"),
        ] {
            assert_eq!(redact(given), want, "{given}");
        }
    }

    #[test]
    fn scrub_finds_the_password_outside_of_the_url_too() {
        let url = "postgres://me:p%40ss-word@db/taxi";
        assert_eq!(scrub("login of me with p@ss-word failed", url), "login of me with *** failed");
        assert_eq!(scrub("login of me with p%40ss-word failed", url), "login of me with *** failed");
    }
}
