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
        let ending: Vec<u32> = own.iter().map(|&(node, _)| node).collect();
        let owner = Sparse::new(count, own.into_iter());
        // In order of depth the nodes where a link may begin, with the node of the four bytes it begins with. Few of many nodes: nothing here may cost per depth.
        let mut starts: Vec<(u32, u32, u32)> = Vec::new();
        for (first, id, depth) in runs {
            let text = needle(id);
            for (node, depth) in (first..).zip(depth as usize..=text.len()) {
                let gram = gram_at(text, depth);
                if depth > 4
                    && self.grams.maybe(gram)
                    && let Some(root) = self.grams.get(gram)
                {
                    starts.push((depth as u32, node, root));
                }
            }
        }
        starts.sort_unstable();
        let mut links = Links { fails: vec![0; count], chain: vec![0; count], linked: Vec::new() };
        // Nodes whose parent has a link, and that parent.
        let mut going_on: Vec<(u32, u32)> = Vec::new();
        let mut starts = starts.into_iter().peekable();
        let mut depth = 0;
        while let Some(next) = if going_on.is_empty() { starts.peek().map(|start| start.0) } else { Some(depth + 1) } {
            depth = next;
            let first_new = links.linked.len();
            for &(node, parent) in &going_on {
                let label = self.nodes[node as usize] as u8;
                let mut at = links.fail(parent);
                while let Some((fail, depth)) = at {
                    if let Some(child) = self.child(fail, label) {
                        links.set(node, (child, depth + 1), &owner);
                        break;
                    }
                    at = links.fail(fail);
                }
            }
            while let Some((_, node, root)) = starts.next_if(|start| start.0 == depth) {
                if links.fail(node).is_none() {
                    links.set(node, (root, 4), &owner);
                }
            }
            going_on.clear();
            for &node in &links.linked[first_new..] {
                self.children(node, &mut children);
                going_on.extend(children.iter().map(|&child| (child, node)));
            }
        }
        let Links { fails, chain, mut linked } = links;
        linked.sort_unstable();
        for &node in &linked {
            self.nodes[node as usize] |= if chain[node as usize] == 0 { FAIL } else { FAIL | OUT };
        }
        let mut ends: Vec<u32> = linked.iter().copied().filter(|&node| chain[node as usize] != 0).collect();
        for &node in &ending {
            self.nodes[node as usize] |= OUT;
            ends.push(node);
        }
        ends.sort_unstable();
        ends.dedup();
        self.fails = Sparse::new(count, linked.iter().map(|&node| (node, unpack(fails[node as usize]))));
        self.ends = Sparse::new(
            count,
            ends.iter()
                .map(|&node| (node, End { needle: owner.get(node).unwrap_or(NONE), next: chain[node as usize].checked_sub(1).unwrap_or(NONE) })),
        );
    }
}

/// Failure links while they are found. Zero stands for none: so the memory of the many nodes that have none is never touched.
struct Links {
    /// By node: a node in the high half, plus one, and its depth.
    fails: Vec<u64>,
    /// By node: the nearest node with an end on its failure chain, itself excluded, plus one.
    chain: Vec<u32>,
    /// Nodes that have one, in the order in which they got it.
    linked: Vec<u32>,
}

fn unpack(fail: u64) -> (u32, u32) {
    ((fail >> 32) as u32 - 1, fail as u32)
}

impl Links {
    fn fail(&self, node: u32) -> Option<(u32, u32)> {
        let fail = self.fails[node as usize];
        (fail != 0).then(|| unpack(fail))
    }

    fn set(&mut self, node: u32, (fail, depth): (u32, u32), owner: &Sparse<u32>) {
        self.fails[node as usize] = u64::from(fail + 1) << 32 | u64::from(depth);
        self.chain[node as usize] = if owner.get(fail).is_some() { fail + 1 } else { self.chain[fail as usize] };
        self.linked.push(node);
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
