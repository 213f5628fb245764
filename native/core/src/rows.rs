//! Result rows of one call, with absolute offsets until they are written out as distances from the end of the input.

/// Numbers per row: kind, set, needle, start, end, sides.
pub const ROW_SIZE: usize = 6;

/// Field 0 of a row; the meaning is defined in `src/core/matcher.ts`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum RowKind {
    Raw = 0,
    Lane = 1,
    Keep = 2,
    Token = 3,
    Fragment = 4,
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub kind: RowKind,
    pub set: u32,
    pub needle: u32,
    pub start: u64,
    pub end: u64,
    pub sides: u32,
}

#[derive(Default)]
pub struct Rows {
    rows: Vec<Row>,
    /// Index of the newest raw row of each set: later matches that overlap or touch it extend it.
    last_raw: Vec<Option<usize>>,
}

impl Rows {
    pub fn new(sets: usize) -> Self {
        Self { rows: Vec::new(), last_raw: vec![None; sets] }
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.last_raw.fill(None);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a raw match: rows stay fewer than spans, not matches.
    pub fn add_raw(&mut self, set: u32, needle: u32, start: u64, end: u64) {
        if let Some(last) = self.last_raw[set as usize] {
            let row = &mut self.rows[last];
            if start >= row.start && start <= row.end {
                if start == row.start {
                    row.needle = needle;
                }
                row.end = row.end.max(end);
                return;
            }
        }
        self.last_raw[set as usize] = Some(self.rows.len());
        self.add(Row { kind: RowKind::Raw, set, needle, start, end, sides: 0 });
    }

    /// Writes as many rows as fit into `out`.
    pub fn write(&self, out: &mut [u32], total: u64) {
        for (row, target) in self.rows.iter().zip(out.chunks_exact_mut(ROW_SIZE)) {
            let back = |offset: u64| u32::try_from(total - offset).unwrap_or(u32::MAX);
            target.copy_from_slice(&[row.kind as u32, row.set, row.needle, back(row.start), back(row.end), row.sides]);
        }
    }
}
