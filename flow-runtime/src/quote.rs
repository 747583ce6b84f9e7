//! Commands to copy.

/// The word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-+:./=@,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        assert_eq!(quoted("manual__2026-01-31T09:30:20.5+00:00"), "manual__2026-01-31T09:30:20.5+00:00");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
