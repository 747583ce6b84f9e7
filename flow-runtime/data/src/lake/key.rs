//! Keys of objects by template.

use std::fmt::Write;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::{Error, Result};

/// Fills a template: `{name}` becomes the value of that name, `{name:%Y/%m}` a date in that form (that of `strftime`). A
/// brace is written twice: `{{`.
///
/// A date is `2021-01-31`, or a moment such as `2021-01-31T08:05:00Z`. Values may hold slashes, but nothing that leaves the
/// folder which the template names.
///
/// ```
/// # fn main() -> Result<(), flow_data::Error> {
/// let values = [("dag", "taxi"), ("date", "2021-01-31"), ("hash", "9f86d081")];
/// let key = flow_data::key("gs://lake/raw/{dag}/{date:%Y/%m}/{date}-{hash}.parquet", values)?;
/// assert_eq!(key, "gs://lake/raw/taxi/2021/01/2021-01-31-9f86d081.parquet");
///
/// let error = flow_data::key("raw/{day}.parquet", values).unwrap_err();
/// assert!(error.to_string().contains("{day}") && error.to_string().contains("dag, date, hash"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// A name without a value, a form that is none or of a value that is no date, a brace without its partner, a value that is
/// empty, has a control character, or the part `.` or `..`.
pub fn key<'a>(template: &str, values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String> {
    let values: Vec<_> = values.into_iter().collect();
    let invalid = |why: String| Error::Invalid(format!("the key `{template}`: {why}"));
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, tail) = rest.split_at(at);
        out.push_str(text);
        if let Some(tail) = tail.strip_prefix("{{") {
            out.push('{');
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix("}}") {
            out.push('}');
            rest = tail;
        } else {
            let Some((field, tail)) = tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) else {
                return Err(invalid("a brace has no partner; write it twice to mean itself".into()));
            };
            let (name, form) = field.split_once(':').map_or((field, None), |(name, form)| (name, Some(form)));
            let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
                let known: Vec<_> = values.iter().map(|(name, _)| *name).collect();
                invalid(format!("`{{{name}}}` is unknown; there are {}", known.join(", ")))
            })?;
            let value = form
                .map_or_else(|| Ok(value.to_owned()), |form| date(value, form))
                .map_err(|why| invalid(format!("`{{{field}}}`: {why}")))?;
            let leaves = value.split(['/', '\\']).any(|part| matches!(part, "." | ".."));
            if value.is_empty() || leaves || value.chars().any(char::is_control) {
                return Err(invalid(format!("the value of `{{{name}}}` is empty or no part of a key: {value:?}")));
            }
            out.push_str(&value);
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn date(value: &str, form: &str) -> Result<String, String> {
    if StrftimeItems::new(form).any(|item| matches!(item, Item::Error)) || form.is_empty() {
        return Err(format!("`{form}` is no form of a date; `%Y-%m-%d` is one"));
    }
    let moment = DateTime::parse_from_rfc3339(value)
        .map(|moment| moment.naive_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(value, "%Y-%m-%dT%H:%M:%S%.f"))
        .or_else(|_| NaiveDateTime::parse_from_str(value, "%Y-%m-%d %H:%M:%S%.f"))
        .or_else(|_| NaiveDate::parse_from_str(value, "%Y-%m-%d").map(|day| day.and_time(chrono::NaiveTime::MIN)))
        .map_err(|_| format!("`{value}` is no date"))?;
    let mut text = String::new();
    // A form may ask for a zone, which is not there.
    write!(text, "{}", moment.format(form))
        .map_err(|_| format!("`{form}` asks for what a date without a zone has not"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_filled_says_why() {
        let values = [("date", "2021-01-31"), ("dag", "taxi"), ("up", "a/../b"), ("none", ""), ("line", "a\nb")];
        for (template, why) in [
            ("{day}", "there are date, dag"),
            ("{date", "partner"),
            ("date}", "partner"),
            ("{dag:%Y}", "`taxi` is no date"),
            ("{date:%Q}", "no form"),
            ("{date:}", "no form"),
            ("{date:%z}", "zone"),
            ("{up}", "no part of a key"),
            ("{none}", "empty"),
            ("{line}", "no part of a key"),
        ] {
            let error = key(template, values).unwrap_err();
            assert!(error.is_permanent() && error.to_string().contains(why), "{template}: {error}");
        }
    }

    #[test]
    fn dates_have_forms_and_braces_are_doubled() {
        for (value, want) in [
            ("2021-01-31", "2021/01/31 00"),
            ("2021-01-31T23:30:00Z", "2021/01/31 23"),
            ("2021-01-31T23:30:00-02:00", "2021/02/01 01"),
            ("2021-01-31 08:05:00.5", "2021/01/31 08"),
        ] {
            assert_eq!(key("{d:%Y/%m/%d %H}", [("d", value)]).unwrap(), want, "{value}");
        }
        assert_eq!(key("a{{b}}-{x}", [("x", "1/2")]).unwrap(), "a{b}-1/2");
    }
}
