//! One stream over several sets: a chunk goes through the scanner of each set, and those say what must stay back.

use std::cell::RefCell;
use std::sync::Arc;

use crate::block::Block;
use crate::dense::Dense;
use crate::kernel::{Simd, count_lines};
use crate::projection::{Parser, parser_after};
use crate::rows::Rows;
use crate::scanner::Scanner;
use crate::set::NeedleSet;

/// What a call answers besides rows; defined in `src/core/matcher.ts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub hold: u64,
    pub pending: u64,
    pub parser: u32,
    /// Line feeds in the bytes of the last scan.
    pub lines: u64,
}

pub struct Stream {
    scanners: Vec<Scanner>,
    rows: Rows,
    parser: Parser,
    max_gap_bytes: u64,
    total: u64,
    lines: u64,
    simd: Simd,
}

thread_local! {
    /// Where a scan works: of no use to the next one, and larger than all else that a stream has.
    static SCRATCH: RefCell<(Block, Dense)> = RefCell::new((Block::new(), Dense::new()));
}

impl Stream {
    /// `parser` is `Head::parser` of the stream that this one continues. None if it is no such number.
    pub fn new(sets: Vec<Arc<NeedleSet>>, parser: u32, max_gap_bytes: u64, simd: Simd) -> Option<Self> {
        let rows = Rows::new(sets.len());
        let parser = Parser::from_number(parser)?;
        let scanners = sets.into_iter().enumerate().map(|(index, set)| Scanner::new(set, index as u32, parser)).collect();
        Some(Self { scanners, rows, parser, max_gap_bytes, total: 0, lines: 0, simd })
    }

    /// Scans the next bytes. Returns the number of rows.
    pub fn scan(&mut self, chunk: &[u8]) -> usize {
        self.rows.clear();
        SCRATCH.with_borrow_mut(|(block, dense)| {
            block.begin(self.simd, self.max_gap_bytes);
            dense.begin(self.simd, self.max_gap_bytes);
            for scanner in &mut self.scanners {
                scanner.scan(&mut self.rows, self.max_gap_bytes, chunk, self.total, block, dense);
            }
        });
        self.parser = parser_after(chunk, self.parser);
        self.total += chunk.len() as u64;
        self.lines = count_lines(self.simd, chunk) as u64;
        self.rows.len()
    }

    /// Gives up unfinished matches as fragments; all state is kept. Returns the number of rows.
    pub fn idle(&mut self) -> usize {
        self.rows.clear();
        for scanner in &mut self.scanners {
            scanner.give_up(&mut self.rows, self.total);
        }
        self.rows.len()
    }

    /// Number of rows of the last call.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Writes as many rows of the last call as fit.
    pub fn write_rows(&self, out: &mut [u32]) {
        self.rows.write(out, self.total);
    }

    pub fn head(&self) -> Head {
        let (mut hold, mut pending) = (self.total, self.total);
        for scanner in &self.scanners {
            let (held, origin) = scanner.bounds(self.total);
            hold = hold.min(held.unwrap_or(self.total));
            pending = pending.min(origin.unwrap_or(self.total));
        }
        Head { hold: self.total - hold, pending: self.total - pending.min(hold), parser: self.parser as u32, lines: self.lines }
    }
}
