//! `[notifiers]` of `flow.toml`: what the names stand for that DAGs tell.

use super::file::{Entry, Reader};
use crate::notify::{Channel, Email, MailTls, Subject, TIMEOUT};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::time::Duration;

/// The keys that one may have.
const KEYS: [&str; 12] =
    ["kind", "url", "headers", "argv", "timeout", "host", "port", "tls", "user", "from", "to", "subject"];
/// Those of a mail; `password` is not among the first, so that nobody is told to write it down.
const OF_MAIL: [&str; 10] = ["kind", "host", "port", "tls", "user", "password", "from", "to", "subject", "timeout"];

/// The variable that holds what is secret about a notifier, so that no file has to: `FLOW_NOTIFIER_OPS_URL`.
pub(super) fn variable(name: &str, what: &str) -> String {
    super::variable("NOTIFIER", name, what)
}

/// Takes URLs and passwords from their variables; then each that needs one has one.
pub(super) fn take_env(
    notifiers: &mut BTreeMap<String, Channel>,
    env: impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) {
    for (name, channel) in notifiers {
        if let Channel::Email(email) = channel {
            let variable = variable(name, "PASSWORD");
            let given = env(&variable);
            match &mut email.login {
                Some((_, password)) => *password = given.map_or_else(|| password.clone(), Secret::new),
                None if given.is_some() => {
                    problems.push(format!("{variable} is set, and the notifier `{name}` has no `user`"))
                }
                None => {}
            }
            if email.login.as_ref().is_some_and(|(_, password)| password.expose().is_empty()) {
                problems.push(format!(
                    "the notifier `{name}` has a `user` and no `password`: set {variable}, or write it in flow.toml"
                ));
            }
            continue;
        }
        let (Channel::Webhook { url, .. } | Channel::Slack { url, .. }) = channel else { continue };
        let variable = variable(name, "URL");
        if let Some(given) = env(&variable) {
            *url = given;
        }
        if url.is_empty() {
            problems.push(format!("the notifier `{name}` has no `url`: write it in flow.toml, or set {variable}"));
        } else if !url.starts_with("https://") && !url.starts_with("http://") {
            // Without the URL itself, which may be a secret.
            problems.push(format!("the `url` of the notifier `{name}` begins with neither `https://` nor `http://`"));
        }
    }
}

impl Reader {
    pub(super) fn notifiers(&mut self, value: Entry<'_, '_>) -> BTreeMap<String, Channel> {
        let mut found = BTreeMap::new();
        for (name, entry) in self.table("notifiers", value).into_iter().flatten() {
            let name = name.get_ref().as_ref();
            if let Err(why) = flow_core::Notifier::named(name).check() {
                self.problem(entry, why);
            } else if let Some(channel) = self.notifier(&format!("notifiers.{name}"), entry) {
                found.insert(name.to_string(), channel);
            }
        }
        found
    }

    fn notifier(&mut self, path: &str, entry: Entry<'_, '_>) -> Option<Channel> {
        let table = self.table(path, entry)?;
        let (mut kind, mut url, mut argv) = (None, None, None);
        let (mut headers, mut timeout) = (BTreeMap::new(), TIMEOUT);
        let is_mail =
            table.iter().any(|(key, value)| key.get_ref() == "kind" && value.get_ref().as_str() == Some("email"));
        if is_mail {
            return self.mail(path, entry);
        }
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let at = format!("{path}.{name}");
            match name {
                "kind" => kind = Some((self.text(&at, value)?, value)),
                "url" => url = Some(self.text(&at, value)?),
                "argv" => {
                    argv = match texts(value) {
                        Some(argv) if argv.first().is_some_and(|program| !program.is_empty()) => Some(argv),
                        _ => return self.must(&at, value, "a list of texts: the program and its arguments"),
                    };
                }
                "headers" => {
                    for (header, value) in self.table(&at, value).into_iter().flatten() {
                        let header = header.get_ref().to_string();
                        let text = self.text(&format!("{at}.{header}"), value)?;
                        headers.insert(header, text);
                    }
                }
                "timeout" => timeout = self.timeout(&at, value)?,
                // It is told below that this kind has none.
                _ if OF_MAIL.contains(&name) => {}
                _ => {
                    self.unknown(&format!("{path}."), key, &KEYS);
                    return None;
                }
            }
        }
        let Some((kind, place)) = kind else {
            self.problem(entry, format!("`{path}` has no `kind`: slack, webhook, email, command or log"));
            return None;
        };
        // Which of the keys it takes; the others would be ignored in silence.
        let taken: &[&str] = match kind.as_str() {
            "log" => &["kind"],
            "command" => &["kind", "argv", "timeout"],
            "webhook" => &["kind", "url", "headers", "timeout"],
            "slack" => &["kind", "url", "timeout"],
            _ => {
                let is = format!("`{kind}`, and must be slack, webhook, email, command or log");
                self.problem(place, format!("`{path}.kind` is {is}"));
                return None;
            }
        };
        if let Some((key, _)) = table.iter().find(|(key, _)| !taken.contains(&key.get_ref().as_ref())) {
            let key = key.get_ref();
            self.problem(
                entry,
                format!("`{path}.{key}`: a notifier of kind `{kind}` has none; it has: {}", taken.join(", ")),
            );
            return None;
        }
        let url = url.unwrap_or_default();
        Some(match (kind.as_str(), argv) {
            ("log", _) => Channel::Log,
            ("webhook", _) => Channel::Webhook { url, headers, timeout },
            ("slack", _) => Channel::Slack { url, timeout },
            (_, Some(argv)) => Channel::Command { argv, timeout },
            (_, None) => {
                self.problem(entry, format!("`{path}` has no `argv`: the program and its arguments"));
                return None;
            }
        })
    }

    fn mail(&mut self, path: &str, entry: Entry<'_, '_>) -> Option<Channel> {
        let table = self.table(path, entry)?;
        let (mut host, mut from, mut to, mut user, mut password) = (None, None, Vec::new(), None, String::new());
        let (mut tls, mut port, mut subject, mut timeout) = (MailTls::default(), None, Subject::default(), TIMEOUT);
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let at = format!("{path}.{name}");
            match name {
                "kind" => {}
                "host" => host = Some(self.text(&at, value)?),
                "port" => {
                    let number = value.get_ref().as_integer().and_then(|n| n.as_str().parse::<u16>().ok());
                    port = match number.filter(|port| *port > 0) {
                        Some(port) => Some(port),
                        None => return self.must(&at, value, "a number from 1 to 65535"),
                    };
                }
                "tls" => {
                    let text = self.text(&at, value)?;
                    tls = match MailTls::from_name(&text) {
                        Some(tls) => tls,
                        None => return self.must(&at, value, "`starttls`, `tls` or `none`"),
                    };
                }
                "user" => user = Some(self.text(&at, value)?),
                "password" => password = self.text(&at, value)?,
                "from" => from = Some(self.text(&at, value)?),
                "to" => {
                    to = match (value.get_ref().as_str(), texts(value)) {
                        (Some(one), _) => vec![one.to_string()],
                        (None, Some(list)) => list,
                        (None, None) => return self.must(&at, value, "a mail address, or a list of them"),
                    };
                }
                "subject" => {
                    subject = match Subject::parse(&self.text(&at, value)?) {
                        Ok(subject) => subject,
                        Err(why) => {
                            self.problem(value, format!("`{at}`: {why}"));
                            return None;
                        }
                    };
                }
                "timeout" => timeout = self.timeout(&at, value)?,
                _ => {
                    self.unknown(&format!("{path}."), key, &OF_MAIL);
                    return None;
                }
            }
        }
        let lacks = [("host", host.is_none()), ("from", from.is_none()), ("to", to.is_empty())];
        if let Some((key, _)) = lacks.into_iter().find(|(_, lacks)| *lacks) {
            self.problem(entry, format!("`{path}` has no `{key}`: a mail has `host`, `from` and `to`"));
            return None;
        }
        if user.is_none() && !password.is_empty() {
            self.problem(entry, format!("`{path}` has a `password` and no `user`"));
            return None;
        }
        let login = user.map(|user| (user, Secret::new(password)));
        let port = port.unwrap_or(tls.port());
        let (host, from) = (host.unwrap_or_default(), from.unwrap_or_default());
        let email = Email { host, port, tls, login, from, to, subject, timeout };
        if let Err(why) = email.check() {
            self.problem(entry, format!("`{path}`: {why}"));
            return None;
        }
        Some(Channel::Email(Box::new(email)))
    }

    fn timeout(&mut self, at: &str, value: Entry<'_, '_>) -> Option<Duration> {
        let text = self.text(at, value)?;
        match flow_core::parse::duration(&text) {
            Ok(time) if time > Duration::ZERO => Some(time),
            _ => self.must(at, value, "a length of time like `10s`"),
        }
    }

    fn must<T>(&mut self, path: &str, value: Entry<'_, '_>, must: &str) -> Option<T> {
        self.problem(value, format!("`{path}` must be {must}"));
        None
    }
}

/// A list of texts.
fn texts(value: Entry<'_, '_>) -> Option<Vec<String>> {
    value.get_ref().as_array()?.iter().map(|one| Some(one.get_ref().as_str()?.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Config, FILE_NAME, Flags};
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<BTreeMap<String, Channel>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), toml).unwrap();
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
        let config = Config::load(folder.path(), &Flags::default(), get);
        config
            .map(|config| config.notifiers)
            .map_err(|e| e.to_string().replace(&folder.path().display().to_string(), ""))
    }

    #[test]
    fn every_kind_is_read_and_a_url_may_come_from_a_variable() {
        let toml = "[notifiers]\nops-2 = { kind = 'slack' }\nlog = { kind = 'log' }\n\
                    page = { kind = 'command', argv = ['mail', '-s', 'flow'], timeout = '1m' }\n\
                    [notifiers.hook]\nkind = 'webhook'\nurl = 'http://h/x'\nheaders = { Authorization = 'Bearer t' }\n";
        let found = load(toml, &[("FLOW_NOTIFIER_OPS_2_URL", "https://hooks.example/T1")]).unwrap();
        let url = "https://hooks.example/T1".to_string();
        assert_eq!(found["ops-2"], Channel::Slack { url, timeout: TIMEOUT });
        assert_eq!(found["log"], Channel::Log);
        let argv = ["mail", "-s", "flow"].map(String::from).to_vec();
        assert_eq!(found["page"], Channel::Command { argv, timeout: Duration::from_secs(60) });
        let headers = BTreeMap::from([("Authorization".to_string(), "Bearer t".to_string())]);
        assert_eq!(found["hook"], Channel::Webhook { url: "http://h/x".into(), headers, timeout: TIMEOUT });
    }

    #[test]
    fn a_mail_has_a_server_and_its_password_may_come_from_a_variable() {
        let toml = "[notifiers]\nrelay = { kind = 'email', host = 'localhost', tls = 'none', from = 'f@e.com', to = 'a@e.com' }\n\
                    [notifiers.ops]\nkind = 'email'\nhost = 'smtp.e.com'\nport = 2525\ntls = 'tls'\nuser = 'flow'\n\
                    from = 'Flow <f@e.com>'\nto = ['a@e.com', 'Bo <b@e.com>']\nsubject = '{who} {what}'\ntimeout = '1m'\n";
        let found = load(toml, &[("FLOW_NOTIFIER_OPS_PASSWORD", "hunter2")]).unwrap();
        let relay = Email {
            host: "localhost".into(),
            port: 25,
            tls: MailTls::None,
            login: None,
            from: "f@e.com".into(),
            to: vec!["a@e.com".into()],
            subject: Subject::default(),
            timeout: TIMEOUT,
        };
        assert_eq!(found["relay"], Channel::Email(Box::new(relay)));
        let ops = Email {
            host: "smtp.e.com".into(),
            port: 2525,
            tls: MailTls::Tls,
            login: Some(("flow".into(), Secret::new("hunter2".into()))),
            from: "Flow <f@e.com>".into(),
            to: vec!["a@e.com".into(), "Bo <b@e.com>".into()],
            subject: Subject::parse("{who} {what}").unwrap(),
            timeout: Duration::from_secs(60),
        };
        assert!(!format!("{ops:?}").contains("hunter2"));
        assert_eq!(found["ops"], Channel::Email(Box::new(ops)));
    }

    #[test]
    fn a_mail_that_cannot_be_sent_is_refused_and_no_password_is_told() {
        let mail = |more: &str| format!("[notifiers]\nm = {{ kind = 'email', from = 'f@e.com', {more} }}");
        for (more, said) in [
            ("host = 'h'", "/flow.toml:2: `notifiers.m` has no `to`: a mail has `host`, `from` and `to`"),
            ("to = 'a@e.com'", "/flow.toml:2: `notifiers.m` has no `host`"),
            ("host = 'h', to = 7", "/flow.toml:2: `notifiers.m.to` must be a mail address, or a list of them"),
            ("host = 'h', to = 'ada'", "/flow.toml:2: `notifiers.m`: `to`: `ada` is no mail address"),
            ("host = 'h', to = 'ädä@e.com'", "/flow.toml:2: `notifiers.m`: `to`: `ädä@e.com` is no mail address"),
            (
                "host = 'smtp://h', to = 'a@e.com'",
                "/flow.toml:2: `notifiers.m`: `host` must be the name of a mail server",
            ),
            (
                "host = 'h', to = 'a@e.com', port = 0",
                "/flow.toml:2: `notifiers.m.port` must be a number from 1 to 65535",
            ),
            (
                "host = 'h', to = 'a@e.com', tls = 'ssl'",
                "/flow.toml:2: `notifiers.m.tls` must be `starttls`, `tls` or `none`",
            ),
            (
                "host = 'h', to = 'a@e.com', subject = '{dag}'",
                "/flow.toml:2: `notifiers.m.subject`: there is no `{dag}`",
            ),
            (
                "host = 'h', to = 'a@e.com', sbject = ''",
                "/flow.toml:2: there is no setting `notifiers.m.sbject`: did you mean `notifiers.m.subject`?",
            ),
            ("host = 'h', to = 'a@e.com', url = ''", "/flow.toml:2: there is no setting `notifiers.m.url`"),
            (
                "host = 'h', to = 'a@e.com', password = 'secret'",
                "/flow.toml:2: `notifiers.m` has a `password` and no `user`",
            ),
            (
                "host = 'h', to = 'a@e.com', user = 'u', password = 'secret', tls = 'none'",
                "/flow.toml:2: `notifiers.m`: `tls = \"none\"` would send the password in the open",
            ),
            (
                "host = 'h', to = 'a@e.com', user = 'u'",
                "the notifier `m` has a `user` and no `password`: set FLOW_NOTIFIER_M_PASSWORD",
            ),
        ] {
            let error = load(&mail(more), &[]).unwrap_err();
            assert!(error.starts_with(said) && !error.contains("secret"), "{error}");
        }
        let error = load(&mail("host = 'h', to = 'a@e.com'"), &[("FLOW_NOTIFIER_M_PASSWORD", "secret")]).unwrap_err();
        assert!(error.starts_with("FLOW_NOTIFIER_M_PASSWORD is set, and the notifier `m` has no `user`"), "{error}");
        let error = load("[notifiers]\nops = { kind = 'slack', host = 'h' }", &[]).unwrap_err();
        assert!(
            error.starts_with("/flow.toml:2: `notifiers.ops.host`: a notifier of kind `slack` has none"),
            "{error}"
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_the_url() {
        for (toml, said) in [
            (
                "[notifiers]\nops = { kind = 'slack' }",
                "the notifier `ops` has no `url`: write it in flow.toml, or set FLOW_NOTIFIER_OPS_URL",
            ),
            (
                "[notifiers]\nops = { kind = 'slack', url = 'T1/secret' }",
                "the `url` of the notifier `ops` begins with neither",
            ),
            (
                "[notifiers]\n\nops = { kind = 'mail' }",
                "/flow.toml:3: `notifiers.ops.kind` is `mail`, and must be slack",
            ),
            ("[notifiers]\nops = { url = 'http://h' }", "/flow.toml:2: `notifiers.ops` has no `kind`"),
            (
                "[notifiers]\nops = { kind = 'log', url = 'http://h' }",
                "/flow.toml:2: `notifiers.ops.url`: a notifier of kind `log` has none",
            ),
            ("[notifiers]\nops = { kind = 'command', argv = [] }", "/flow.toml:2: `notifiers.ops.argv` must be a list"),
            ("[notifiers]\nops = { kind = 'command' }", "/flow.toml:2: `notifiers.ops` has no `argv`"),
            (
                "[notifiers]\nops = { kind = 'log', timout = '1s' }",
                "/flow.toml:2: there is no setting `notifiers.ops.timout`: did you mean `notifiers.ops.timeout`?",
            ),
            ("[notifiers]\n'o p' = { kind = 'log' }", "/flow.toml:2: `o p` cannot name a notifier"),
            ("[notifiers]\nops = 'log'", "/flow.toml:2: `notifiers.ops` is a string, and must be a table"),
        ] {
            let error = load(toml, &[]).unwrap_err();
            assert!(error.starts_with(said) && !error.contains("secret"), "{error}");
        }
    }
}
