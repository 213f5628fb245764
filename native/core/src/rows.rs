//! Result rows of one call, with absolute offsets until they are written out as distances from the end of the input.

/// Numbers per row: kind, set, needle, start, end, sides or end of the cause.
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
    /// In a lane row the end of the match that is its cause; else `end`.
    pub cause_end: u64,
}

impl Row {
    pub fn new(kind: RowKind, set: u32, needle: u32, start: u64, end: u64, sides: u32) -> Self {
        Self { kind, set, needle, start, end, sides, cause_end: end }
    }
}

#[derive(Default)]
pub struct Rows {
    rows: Vec<Row>,
    /// Index of the newest match row of each lane of each set: later matches that overlap or touch it extend it. So rows stay fewer than spans, not matches.
    last: Vec<Option<usize>>,
}

/// Lanes of a set, the raw one first.
const LANES: usize = 4;

impl Rows {
    pub fn new(sets: usize) -> Self {
        Self { rows: Vec::new(), last: vec![None; sets * LANES] }
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.last.fill(None);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn add_raw(&mut self, set: u32, needle: u32, start: u64, end: u64) {
        self.add_match(RowKind::Raw, 0, set, needle, start, end);
    }

    /// Adds a match of a lane other than raw; `lane` is its number from 1.
    pub fn add_lane(&mut self, lane: usize, set: u32, needle: u32, start: u64, end: u64) {
        self.add_match(RowKind::Lane, lane, set, needle, start, end);
    }

    fn add_match(&mut self, kind: RowKind, lane: usize, set: u32, needle: u32, start: u64, end: u64) {
        let last = &mut self.last[set as usize * LANES + lane];
        if let Some(row) = last.map(|last| &mut self.rows[last])
            && (row.start..=row.end).contains(&start)
        {
            if start == row.start {
                (row.needle, row.cause_end) = (needle, end);
            }
            row.end = row.end.max(end);
            return;
        }
        *last = Some(self.rows.len());
        self.add(Row::new(kind, set, needle, start, end, 0));
    }

    /// Writes as many rows as fit into `out`.
    pub fn write(&self, out: &mut [u32], total: u64) {
        for (row, target) in self.rows.iter().zip(out.chunks_exact_mut(ROW_SIZE)) {
            let back = |offset: u64| u32::try_from(total - offset).unwrap_or(u32::MAX);
            let last = if row.kind == RowKind::Lane { back(row.cause_end) } else { row.sides };
            target.copy_from_slice(&[row.kind as u32, row.set, row.needle, back(row.start), back(row.end), last]);
        }
    }
}
