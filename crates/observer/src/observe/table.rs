//! Columns: each as wide as its widest cell, three spaces apart.

/// Rows of cells.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Vec<String>>);

/// Spaces behind a column.
const GAP: usize = 3;

impl Table {
    pub(super) fn add(&mut self, row: Vec<String>) {
        self.0.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the rows. The last cell of a row has no spaces behind it.
    pub(super) fn put(&self, out: &mut String) {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter(|row| column + 1 < row.len()).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.0 {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                out.push_str(cell);
                if at + 1 < row.len() {
                    let spaces = (width + GAP).saturating_sub(cell.chars().count());
                    out.extend(std::iter::repeat_n(' ', spaces));
                }
            }
            out.push('\n');
        }
    }
}
