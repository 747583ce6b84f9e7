//! The name that was most likely meant by one that is not there.

/// The name that is a slip away from this one, or two where it is long; the nearest, and of several that are as near the first.
/// Upper and lower case, and `-` for `_`, are no difference.
///
/// ```
/// assert_eq!(flow_core::meant("retrys", ["retries", "retry_delay"]), Some("retries"));
/// assert_eq!(flow_core::meant("tabel", ["url", "table"]), Some("table"));
/// assert_eq!(flow_core::meant("colour", ["url", "table"]), None);
/// ```
pub fn meant<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_").chars().collect::<Vec<char>>();
    let wanted = plain(given);
    let most = match wanted.len() {
        0..3 => return None,
        3..6 => 1,
        _ => 2,
    };
    let far = names.into_iter().map(|name| (slips(&wanted, &plain(name)), name)).filter(|(slips, _)| *slips <= most);
    far.min_by_key(|(slips, _)| *slips).map(|(_, name)| name)
}

/// How many letters were left out, put in, changed, or swapped with the next.
fn slips(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_may_be_left_out_put_in_changed_and_swapped() {
        for (given, slip) in
            [("table", 0), ("tabl", 1), ("ttable", 1), ("fable", 1), ("tabel", 1), ("tbael", 2), ("", 5)]
        {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(slips(&letters(given), &letters("table")), slip, "{given}");
        }
    }

    #[test]
    fn a_stranger_is_not_meant() {
        for (given, found) in [
            ("Retries", Some("retries")),
            ("retry-delay", Some("retry_delay")),
            ("retires", Some("retries")),
            ("dag", None),
            ("id", None),
            ("every", None),
        ] {
            assert_eq!(meant(given, ["retries", "retry_delay", "doc"]), found, "{given}");
        }
    }
}
