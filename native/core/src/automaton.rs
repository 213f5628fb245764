//! The Aho-Corasick automaton: built once from needles, immutable, linear time whatever the text. It knows nothing of lanes or streams.
//!
//! Every needle has 4 bytes or more, so the trie starts at depth 4, reached through a table of 4-byte prefixes. A state above that depth
//! ("shallow") is just the last three bytes and how many of them begin a needle. Nodes are numbered in depth-first order over the sorted
//! needles, so a first child is always `node + 1` and a node costs two bytes; everything else stands in sparse tables, since few nodes need it:
//! random needles share few prefixes and their suffixes rarely begin another needle.

mod build;

use crate::grams::GramTable;
use crate::secret_buf::SecretBuf;
use crate::set::{TOKEN, WRAPPED};
use crate::sparse::Sparse;

/// Flags in the high byte of a node; the low byte is its label.
const CHILD: u16 = 1 << 8;
const SIBLING: u16 = 2 << 8;
const OUT: u16 = 4 << 8;
const FAIL: u16 = 8 << 8;
const WRAPPED_BELOW: u16 = 16 << 8;
const WIDE: u16 = 32 << 8;

/// Children from which on a node has an index of them; fewer are tried one after the other.
const WIDE_CHILDREN: usize = 8;

/// Bits of the short-prefix tables: some needle begins so; some wrapped needle does.
pub const PREFIX: u8 = 1;
pub const PREFIX_WRAPPED: u8 = 2;

pub const NONE: u32 = u32::MAX;

/// A matching state. `node` is `NONE` while `depth` is below 4; `tail` holds the last three bytes, newest lowest.
#[derive(Clone, Copy, Debug)]
pub struct State {
    pub node: u32,
    pub depth: u32,
    pub tail: u32,
}

impl Default for State {
    fn default() -> Self {
        Self { node: NONE, depth: 0, tail: 0 }
    }
}

/// A needle that ends at a node, and the next shorter one on the failure chain.
#[derive(Clone, Copy)]
struct End {
    needle: u32,
    next: u32,
}

pub struct Automaton {
    nodes: SecretBuf<u16>,
    siblings: Sparse<u32>,
    /// Children of wide nodes, each node's in order of their labels; and where in the list they start, and how many they are.
    wide_children: Vec<u32>,
    wides: Sparse<(u32, u32)>,
    fails: Sparse<(u32, u32)>,
    ends: Sparse<End>,
    pub grams: GramTable,
    threes: GramTable,
    /// By the last two bytes, two bits each, four to a byte: on the heap, since two bytes of a secret tell nothing and a mapping more per set would count.
    twos: Box<[u8]>,
    ones: [u8; 256],
    lengths: Vec<u32>,
    needle_flags: Vec<u8>,
    has_tokens: bool,
    edges: Vec<u8>,
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Automaton {
    pub fn bytes(&self) -> usize {
        self.nodes.bytes()
            + self.siblings.bytes()
            + self.wides.bytes()
            + self.wide_children.capacity() * size_of::<u32>()
            + self.fails.bytes()
            + self.ends.bytes()
            + self.grams.bytes()
            + self.threes.bytes()
            + self.twos.len()
            + self.lengths.len() * 6
            + size_of::<Self>()
    }

    pub fn locked_bytes(&self) -> usize {
        self.nodes.locked_bytes() + self.grams.locked_bytes() + self.threes.locked_bytes()
    }

    #[inline]
    fn sibling(&self, node: u32) -> Option<u32> {
        if self.nodes[node as usize] & SIBLING == 0 { None } else { self.siblings.get(node) }
    }

    #[inline]
    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        if self.nodes[node as usize] & CHILD == 0 {
            return None;
        }
        if self.nodes[node as usize] & WIDE != 0 {
            return self.wide_child(node, byte);
        }
        let mut child = node + 1;
        while self.nodes[child as usize] as u8 != byte {
            child = self.sibling(child)?;
        }
        Some(child)
    }

    fn wide_child(&self, node: u32, byte: u8) -> Option<u32> {
        let (start, count) = self.wides.get(node)?;
        let children = &self.wide_children[start as usize..(start + count) as usize];
        let index = children.binary_search_by_key(&byte, |&child| self.nodes[child as usize] as u8).ok()?;
        Some(children[index])
    }

    /// Node and depth of the longest proper suffix of 4+ bytes that begins a needle.
    #[inline]
    fn fail(&self, node: u32) -> Option<(u32, u32)> {
        if self.nodes[node as usize] & FAIL == 0 { None } else { self.fails.get(node) }
    }

    /// Moves `state` over one byte.
    #[inline]
    pub fn step(&self, state: &mut State, byte: u8) {
        while state.node != NONE {
            if let Some(child) = self.child(state.node, byte) {
                state.node = child;
                state.depth += 1;
                state.tail = (state.tail << 8 | u32::from(byte)) & 0xff_ffff;
                return;
            }
            (state.node, state.depth) = self.fail(state.node).unwrap_or((NONE, 0));
            if state.node == NONE {
                state.depth = self.shallow_depth(state.tail, 3, PREFIX);
            }
        }
        self.step_shallow(state, byte);
    }

    fn step_shallow(&self, state: &mut State, byte: u8) {
        let tail = state.tail;
        state.tail = (tail << 8 | u32::from(byte)) & 0xff_ffff;
        if state.depth == 3 {
            let gram = (tail >> 16) | (tail & 0xff00) | (tail & 0xff) << 16 | u32::from(byte) << 24;
            if self.grams.maybe(gram)
                && let Some(node) = self.grams.get(gram)
            {
                state.node = node;
                state.depth = 4;
                return;
            }
        }
        state.depth = self.shallow_depth(state.tail, (state.depth + 1).min(3), PREFIX);
    }

    /// Longest suffix of `tail`, of at most `limit` (0–3) bytes, that begins a needle.
    #[inline]
    pub fn shallow_depth(&self, tail: u32, limit: u32, want: u8) -> u32 {
        if limit >= 3 && self.threes.maybe(tail) && self.threes.get(tail).unwrap_or(0) as u8 & want != 0 {
            3
        } else if limit >= 2 && self.twos[(tail & 0xffff) as usize / 4] >> (tail % 4 * 2) & want != 0 {
            2
        } else {
            u32::from(limit >= 1 && self.ones[(tail & 0xff) as usize] & want != 0)
        }
    }

    /// Shortens `state` to the longest needle prefix of at most `limit` bytes.
    pub fn clip(&self, state: &mut State, limit: u64) {
        while u64::from(state.depth) > limit {
            let fail = if state.node == NONE { None } else { self.fail(state.node) };
            if let Some((node, depth)) = fail {
                (state.node, state.depth) = (node, depth);
            } else {
                state.node = NONE;
                state.depth = self.shallow_depth(state.tail, limit.min(3) as u32, PREFIX);
            }
        }
    }

    /// Length of the longest suffix at `state`, longer than `above`, that is a *proper* prefix of a needle (of a wrapped one); 0 if none.
    pub fn pending_depth(&self, state: &State, above: u64, wrapped: bool) -> u32 {
        let want = if wrapped { WRAPPED_BELOW } else { CHILD };
        let mut at = (state.node, state.depth);
        while at.0 != NONE {
            if u64::from(at.1) <= above {
                return 0;
            }
            if self.nodes[at.0 as usize] & want != 0 {
                return at.1;
            }
            at = self.fail(at.0).unwrap_or((NONE, 0));
        }
        let limit = if state.node == NONE { state.depth } else { 3 };
        let depth = self.shallow_depth(state.tail, limit, if wrapped { PREFIX_WRAPPED } else { PREFIX });
        if u64::from(depth) > above { depth } else { 0 }
    }

    /// A needle that the pending prefix of `depth` (4 or more) bytes at `state` can become.
    pub fn needle_below(&self, state: &State, depth: u32) -> u32 {
        let mut at = (state.node, state.depth);
        while at.1 != depth {
            match self.fail(at.0) {
                Some(fail) => at = fail,
                None => break,
            }
        }
        let mut node = at.0;
        if self.nodes[node as usize] & CHILD != 0 {
            node += 1;
        }
        loop {
            if let Some(needle) = self.own(node) {
                return needle;
            }
            node += 1;
        }
    }

    fn own(&self, node: u32) -> Option<u32> {
        if self.nodes[node as usize] & OUT == 0 {
            return None;
        }
        self.ends.get(node).map(|end| end.needle).filter(|&needle| needle != NONE)
    }

    #[inline]
    pub fn has_end(&self, node: u32) -> bool {
        self.nodes[node as usize] & OUT != 0
    }

    /// Needles that end at `node`, longest first, with their lengths.
    pub fn ends_at(&self, node: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut at = node;
        std::iter::from_fn(move || {
            while at != NONE {
                let end = self.ends.get(at)?;
                at = end.next;
                if end.needle != NONE {
                    return Some((end.needle, self.lengths[end.needle as usize]));
                }
            }
            None
        })
    }

    pub fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    pub fn is_token(&self, needle: u32) -> bool {
        self.needle_flags[needle as usize] & TOKEN != 0
    }

    pub fn is_wrapped(&self, needle: u32) -> bool {
        self.needle_flags[needle as usize] & WRAPPED != 0
    }

    /// Whether a needle's first (1) and last (2) byte is a word byte.
    pub fn edges(&self, needle: u32) -> u8 {
        self.edges[needle as usize]
    }

    pub fn begins(&self, byte: u8) -> bool {
        self.ones[byte as usize] != 0
    }
}
