//! Tables: columns as wide as they must be, cut to the width of the terminal, never wrapped.

use super::style::Paint;

/// Rows under a head line.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// The columns that may be cut, the first of them first.
    elastic: Vec<usize>,
}

/// No elastic column is cut below this.
const LEAST: usize = 12;

impl Table {
    /// A table with these heads; `elastic` columns are cut where the terminal is too narrow, in this order.
    pub fn new(head: &[&'static str], elastic: &[usize]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new(), elastic: elastic.to_vec() }
    }

    /// One more row; cells may be painted.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, none of them wider than `width`; none where there are no rows.
    pub fn lines(&self, width: Option<usize>, paint: Paint) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let used: Vec<usize> = (0..self.head.len())
            .filter(|&c| self.rows.iter().any(|row| row.get(c).is_some_and(|cell| !cell.is_empty())))
            .collect();
        let mut widths: Vec<usize> = (0..self.head.len())
            .map(|c| {
                let cells = self.rows.iter().filter_map(|row| row.get(c)).map(|cell| console::measure_text_width(cell));
                cells.max().unwrap_or(0).max(self.head[c].len())
            })
            .collect();
        if let Some(limit) = width {
            let total = |widths: &[usize]| used.iter().map(|&c| widths[c] + 2).sum::<usize>().saturating_sub(2);
            for &c in self.elastic.iter().filter(|c| used.contains(c)) {
                let over = total(&widths).saturating_sub(limit);
                widths[c] = widths[c].saturating_sub(over).max(LEAST.min(widths[c]));
            }
        }
        let line = |cell: &dyn Fn(usize) -> String| {
            let cells: Vec<String> = used
                .iter()
                .map(|&c| console::pad_str(&cell(c), widths[c], console::Alignment::Left, Some("…")).into_owned())
                .collect();
            let line = cells.join("  ").trim_end().to_string();
            width.map_or(line.clone(), |w| console::truncate_str(&line, w, "…").into_owned())
        };
        let mut lines = vec![paint.dim(line(&|c| self.head[c].to_string()))];
        lines.extend(self.rows.iter().map(|row| line(&|c| row.get(c).cloned().unwrap_or_default())));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["DAG", "TAGS", "DOC"], &[2]);
        table.row(["taxi".into(), String::new(), "Loads one month of trips into the warehouse".into()]);
        table.row(["hello_world".into(), String::new(), "Greets".into()]);
        table
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        assert_eq!(
            table().lines(None, Paint(false)),
            ["DAG          DOC", "taxi         Loads one month of trips into the warehouse", "hello_world  Greets"]
        );
    }

    #[test]
    fn without_rows_there_is_no_line() {
        assert!(Table::new(&["DAG", "DOC"], &[]).lines(None, Paint(false)).is_empty());
    }

    #[test]
    fn a_narrow_terminal_cuts_the_elastic_column() {
        let lines = table().lines(Some(40), Paint(false));
        assert_eq!(lines[1], "taxi         Loads one month of trips i…");
        for width in [20, 30, 40, 80] {
            let lines = table().lines(Some(width), Paint(true));
            assert!(lines.iter().all(|l| console::measure_text_width(l) <= width), "{width}");
        }
    }
}
