//! Building an automaton: 1. the trie, from sorted needles; 2. failure links and chains of ends, by depth.

use super::*;

/// Of equal needles the wrapped one finds all that an exact one does, and that one all that a token does.
fn weakness(flags: u8) -> u8 {
    match flags {
        WRAPPED => 0,
        TOKEN => 2,
        _ => 1,
    }
}

impl Automaton {
    /// Builds from the needles listed in `order`; equal needles collapse into the one that masks most, the first of such.
    pub fn new(needle: &impl Fn(u32) -> (usize, usize), bytes: &[u8], flags: &[u8], order: &[u32]) -> Self {
        let slice = |id: u32| {
            let (start, end) = needle(id);
            &bytes[start..end]
        };
        let mut sorted = order.to_vec();
        sorted.sort_by(|&a, &b| slice(a).cmp(slice(b)).then(weakness(flags[a as usize]).cmp(&weakness(flags[b as usize]))));
        let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(x, y)| x == y).count();
        let mut count = 0;
        let mut shared = Vec::with_capacity(sorted.len());
        for (i, &id) in sorted.iter().enumerate() {
            let length = slice(id).len();
            let prefix = if i == 0 { 0 } else { common(slice(sorted[i - 1]), slice(id)) };
            count += if prefix < 4 { length - 3 } else { length - prefix };
            shared.push(prefix);
        }

        let mut build =
            Builder { nodes: SecretBuf::zeroed(count + 1), siblings: Vec::new(), own: Vec::new(), runs: Vec::with_capacity(sorted.len()), next: 0 };
        let mut grams = GramTable::new(sorted.len());
        let mut threes = GramTable::new(sorted.len());
        let mut twos = vec![0u8; 1 << 14].into_boxed_slice();
        let mut ones = [0u8; 256];

        // 1. The trie. path[d] is the node at depth d of the needle before, last_child[d] the newest child of path[d].
        let mut path: Vec<u32> = vec![NONE; 5];
        let mut last_child: Vec<u32> = vec![NONE; 5];
        for (&id, &prefix) in sorted.iter().zip(&shared) {
            let text = slice(id);
            let wrapped = flags[id as usize] & WRAPPED != 0;
            let bits = if wrapped { PREFIX | PREFIX_WRAPPED } else { PREFIX };
            let three = u32::from(text[0]) << 16 | u32::from(text[1]) << 8 | u32::from(text[2]);
            ones[text[0] as usize] |= bits;
            twos[(three >> 8) as usize / 4] |= bits << ((three >> 8) % 4 * 2);
            threes.set(three, threes.get(three).unwrap_or(0) | u32::from(bits));
            path.resize(path.len().max(text.len() + 1), NONE);
            last_child.resize(path.len(), NONE);
            let mut depth = prefix;
            build.runs.push((build.next, id, depth.max(3) as u32 + 1));
            if depth < 4 {
                depth = 4;
                path[4] = build.next;
                grams.set(gram_at(text, 4), build.next);
                build.add(text[3]);
            } else if depth < text.len() && build.nodes[path[depth] as usize] & CHILD != 0 {
                build.siblings.push((last_child[depth], build.next));
            }
            while depth < text.len() {
                build.nodes[path[depth] as usize] |= CHILD;
                last_child[depth] = build.next;
                depth += 1;
                path[depth] = build.next;
                build.add(text[depth - 1]);
            }
            if wrapped {
                for &node in &path[4..text.len()] {
                    build.nodes[node as usize] |= WRAPPED_BELOW;
                }
            }
            let end = path[text.len()];
            if build.own.last().is_none_or(|&(node, _)| node != end) {
                build.own.push((end, id));
            }
        }
        build.siblings.sort_unstable();
        for &(node, _) in &build.siblings {
            build.nodes[node as usize] |= SIBLING;
        }
        let siblings = Sparse::new(count, build.siblings.iter().copied());

        let mut automaton = Self {
            nodes: SecretBuf::zeroed(0),
            siblings,
            wide_children: Vec::new(),
            wides: Sparse::new(0, std::iter::empty()),
            fails: Sparse::new(0, std::iter::empty()),
            ends: Sparse::new(0, std::iter::empty()),
            grams,
            threes,
            twos,
            ones,
            lengths: (0..flags.len() as u32).map(|id| slice(id).len() as u32).collect(),
            needle_flags: flags.to_vec(),
            has_tokens: order.iter().any(|&id| flags[id as usize] & TOKEN != 0),
            edges: (0..flags.len() as u32)
                .map(|id| u8::from(is_word(slice(id)[0])) | u8::from(is_word(slice(id)[slice(id).len() - 1])) << 1)
                .collect(),
        };
        automaton.link(build, count, &slice);
        automaton
    }

    /// Puts the children of `node` into `list`.
    fn children(&self, node: u32, list: &mut Vec<u32>) {
        list.clear();
        if self.nodes[node as usize] & CHILD != 0 {
            list.extend(std::iter::successors(Some(node + 1), |&child| self.sibling(child)));
        }
    }

    /// Step 2: failure links and the chains of ends, by depth: those of shorter prefixes are known by then. Few nodes have one: those whose path ends with
    /// the first four bytes of a needle, where a link begins, and children of such with one, where it may go on.
    fn link<'a>(&mut self, build: Builder, count: usize, needle: &impl Fn(u32) -> &'a [u8]) {
        let Builder { nodes, own, runs, .. } = build;
        self.nodes = nodes;
        let mut wides = Vec::new();
        let mut children = Vec::new();
        for node in 0..count as u32 {
            // Most have one child at most.
            if self.nodes[node as usize] & CHILD != 0 && self.nodes[node as usize + 1] & SIBLING != 0 {
                self.children(node, &mut children);
                if children.len() >= WIDE_CHILDREN {
                    self.nodes[node as usize] |= WIDE;
                    wides.push((node, (self.wide_children.len() as u32, children.len() as u32)));
                    self.wide_children.extend(&children);
                }
            }
        }
        self.wides = Sparse::new(count, wides.into_iter());
        let mut owner = vec![NONE; count];
        for &(node, id) in &own {
            owner[node as usize] = id;
        }
        // By depth the nodes where a link may begin, with the node of the four bytes it begins with.
        let mut starts: Vec<Vec<(u32, u32)>> = Vec::new();
        for (first, id, depth) in runs {
            let text = needle(id);
            for (node, depth) in (first..).zip(depth as usize..=text.len()) {
                let gram = gram_at(text, depth);
                if depth > 4
                    && self.grams.maybe(gram)
                    && let Some(root) = self.grams.get(gram)
                {
                    starts.resize_with(starts.len().max(depth + 1), Vec::new);
                    starts[depth].push((node, root));
                }
            }
        }
        let mut fails: Vec<(u32, u32)> = vec![(NONE, 0); count];
        // Nearest node with an end on the failure chain of each node, itself excluded.
        let mut chain = vec![NONE; count];
        // Nodes whose parent has a link, and that parent.
        let mut going_on: Vec<(u32, u32)> = Vec::new();
        let mut depth = 0;
        while depth < starts.len() || !going_on.is_empty() {
            let mut linked = Vec::new();
            let mut link = |node: u32, (fail, depth): (u32, u32), fails: &mut [(u32, u32)]| {
                fails[node as usize] = (fail, depth);
                chain[node as usize] = if owner[fail as usize] != NONE { fail } else { chain[fail as usize] };
                linked.push(node);
            };
            for &(node, parent) in &going_on {
                let label = self.nodes[node as usize] as u8;
                let (mut fail, mut depth) = fails[parent as usize];
                while fail != NONE {
                    if let Some(child) = self.child(fail, label) {
                        link(node, (child, depth + 1), &mut fails);
                        break;
                    }
                    (fail, depth) = fails[fail as usize];
                }
            }
            for &(node, root) in starts.get(depth).into_iter().flatten() {
                if fails[node as usize].0 == NONE {
                    link(node, (root, 4), &mut fails);
                }
            }
            going_on.clear();
            for node in linked {
                self.children(node, &mut children);
                going_on.extend(children.iter().map(|&child| (child, node)));
            }
            depth += 1;
        }
        for node in 0..count {
            if fails[node].0 != NONE {
                self.nodes[node] |= FAIL;
            }
            if owner[node] != NONE || chain[node] != NONE {
                self.nodes[node] |= OUT;
            }
        }
        let indexed = |node: usize| node as u32;
        self.fails = Sparse::new(count, fails.iter().enumerate().filter(|(_, fail)| fail.0 != NONE).map(|(node, &fail)| (indexed(node), fail)));
        self.ends = Sparse::new(
            count,
            (0..count)
                .filter(|&node| owner[node] != NONE || chain[node] != NONE)
                .map(|node| (indexed(node), End { needle: owner[node], next: chain[node] })),
        );
    }
}

/// The four bytes of `text` that end at `depth`, first lowest.
fn gram_at(text: &[u8], depth: usize) -> u32 {
    u32::from_le_bytes(text[depth - 4..depth].try_into().expect("4 bytes"))
}

/// The trie while it grows.
struct Builder {
    nodes: SecretBuf<u16>,
    /// Node and its next sibling.
    siblings: Vec<(u32, u32)>,
    /// Node and the needle that ends there, in order of nodes.
    own: Vec<(u32, u32)>,
    /// What each needle added: its first new node, the needle, and the depth of that node. The others follow it.
    runs: Vec<(u32, u32, u32)>,
    next: u32,
}

impl Builder {
    fn add(&mut self, label: u8) {
        self.nodes[self.next as usize] |= u16::from(label);
        self.next += 1;
    }
}
