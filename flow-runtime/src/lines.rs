//! What a process prints, line by line.

/// A line without end is cut here.
const LONGEST: usize = 64 * 1024;

/// Bytes on their way to be lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Takes more bytes, and hands on every line that is whole now, without its end.
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        self.0.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(end) = end_of_line(&self.0[begin..]) {
            line(&self.0[begin..begin + end]);
            begin += end + usize::from(self.0[begin + end] == b'\n');
        }
        self.0.drain(..begin);
    }

    /// Hands on what has no end.
    pub(crate) fn finish(self, line: impl FnOnce(&[u8])) {
        if !self.0.is_empty() {
            line(&self.0);
        }
    }
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let looked_at = &bytes[..bytes.len().min(LONGEST + 1)];
    looked_at.iter().position(|byte| *byte == b'\n').or((bytes.len() > LONGEST).then_some(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut found, mut lines) = (Vec::new(), Lines::default());
        for chunk in chunks {
            lines.push(chunk, |line| found.push(line.to_vec()));
        }
        lines.finish(|line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn lines_end_at_a_break_or_where_they_are_too_long() {
        assert_eq!(lines(&[b"a", b"b\nc", b"\n\nd"]), [b"ab".to_vec(), b"c".to_vec(), vec![], b"d".to_vec()]);
        let long = vec![b'x'; 2 * LONGEST + 7];
        assert_eq!(lines(&[&long]).concat(), long, "nothing is lost at a cut");
        assert_eq!(lines(&[&long, b"\ny\n"]).iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST, LONGEST, 7, 1]);
    }
}
