//! The matcher against a naive reading of `src/core/README.md` (naive/mod.rs). Random small cases over tiny alphabets,
//! every chunking of short inputs, byte-at-a-time always among them. What is compared: masked bytes, bytes matched by the raw lane (they are not
//! kept), and what must stay back after every chunk.

mod naive;

use std::sync::Arc;

use logveil_core::{NeedleSet, ROW_SIZE, RowKind, SPACED, SecretBuf, Simd, Stream, TOKEN, WRAPPED};

use naive::{Marks, Needle, Span, is_blank, marks, needle, oracle};

fn build(needles: &[Needle]) -> Arc<NeedleSet> {
    let bytes: Vec<u8> = needles.iter().flat_map(|needle| needle.bytes.clone()).collect();
    let mut offsets = vec![0u32];
    offsets.extend(needles.iter().scan(0, |at, needle| {
        *at += needle.bytes.len() as u32;
        Some(*at)
    }));
    let flags: Vec<u8> = needles.iter().map(|needle| needle.flags).collect();
    Arc::new(NeedleSet::build(&SecretBuf::copy_of(&bytes), &offsets, &flags).expect("valid needles"))
}

/// Runs the stream over `input` cut at `cuts`. Answers the marks and what was held after each chunk (by its end).
fn run(set: &Arc<NeedleSet>, input: &[u8], cuts: &[usize], max_gap_bytes: u64) -> (Marks, Vec<(usize, u64)>) {
    run_with(Simd::best(), set, input, cuts, max_gap_bytes)
}

fn run_with(simd: Simd, set: &Arc<NeedleSet>, input: &[u8], cuts: &[usize], max_gap_bytes: u64) -> (Marks, Vec<(usize, u64)>) {
    let mut stream = Stream::new(vec![set.clone()], 0, max_gap_bytes, simd).expect("valid state");
    let mut spans: Vec<Span> = Vec::new();
    let mut holds = Vec::new();
    let mut keeps = vec![false; input.len()];
    let mut collect = |stream: &Stream, count: usize, total: usize| {
        let mut rows = vec![0u32; count * ROW_SIZE];
        stream.write_rows(&mut rows);
        for row in rows.chunks_exact(ROW_SIZE) {
            let (start, end) = (total - row[3] as usize, total - row[4] as usize);
            assert!(start < end && end <= total, "empty row");
            if row[0] == RowKind::Keep as u32 {
                keeps[start..end].fill(true);
            } else {
                let raw = row[0] == RowKind::Raw as u32 || row[0] == RowKind::Token as u32 || (row[0] == RowKind::Fragment as u32 && row[5] == 1);
                let sides = if row[0] == RowKind::Token as u32 { row[5] } else { 0 };
                spans.push(Span { start, end, sides, raw });
            }
        }
    };
    let mut start = 0;
    for &end in cuts.iter().chain(std::iter::once(&input.len())) {
        let count = stream.scan(&input[start..end]);
        collect(&stream, count, end);
        let head = stream.head();
        assert!(head.pending >= head.hold, "pending below hold");
        holds.push((end, head.hold));
        start = end;
    }
    let count = stream.idle();
    collect(&stream, count, input.len());
    (marks(&spans, &keeps), holds)
}

fn check(needles: &[Needle], set: &Arc<NeedleSet>, input: &[u8], cuts: &[usize], expected: &(Marks, Vec<u64>)) {
    let (marks, holds) = run(set, input, cuts, 1 << 16);
    let case = || format!("needles {needles:?}\ninput {:?}\ncuts {cuts:?}", String::from_utf8_lossy(input));
    assert_eq!(marks, expected.0, "{}", case());
    for (end, hold) in holds {
        assert_eq!(hold, expected.1[end], "held after {end} bytes; {}", case());
    }
}

/// xorshift64*: the same cases on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn text(&mut self, pieces: &[&str], least: usize, most: usize) -> Vec<u8> {
        let count = least + self.below(most - least + 1);
        (0..count).flat_map(|_| pieces[self.below(pieces.len())].as_bytes().to_vec()).collect()
    }

    fn needles(&mut self, pieces: &[&str]) -> Vec<Needle> {
        (0..1 + self.below(5))
            .map(|_| {
                let flags = [0, WRAPPED, SPACED, TOKEN][self.below(4)];
                let mut bytes = self.text(pieces, 4, 9);
                if flags == SPACED {
                    bytes.retain(|&byte| !is_blank(byte));
                    bytes.resize(bytes.len().max(4), b'a');
                }
                bytes.truncate(32);
                Needle { bytes, flags }
            })
            .collect()
    }

    fn cuts(&mut self, length: usize) -> Vec<usize> {
        (1..length).filter(|_| self.below(4) == 0).collect()
    }
}

const ALPHABETS: [&[&str]; 7] = [
    &["a", "b"],
    &["a", "b", "\n"],
    &["a", "b", "\x08"],
    &["a", "b", "a", "b", "\x1b[m", "\x08", " "],
    &["a", "b", ".", "-", "\x1b[m"],
    &["a", "b", "m", "[", "\x1b", "\x1b]", "\x07", "\\", "\n", "\x08"],
    &["a", "b", "a", "b", "\x1b[1m", "\x1b]0;ab\x07", "\r\n", "\x08 \x08", " ", "\t"],
];

/// Needles are mostly plain text, as real ones are; some hold anything.
fn case(random: &mut Random, most: usize) -> (Vec<Needle>, Vec<u8>) {
    let pieces = ALPHABETS[random.below(ALPHABETS.len())];
    let needles = if random.below(4) == 0 { random.needles(pieces) } else { random.needles(&pieces[..2]) };
    let mut input = random.text(pieces, 0, most);
    // Most random inputs match little: plant needles, cut by pieces of the alphabet.
    for _ in 0..random.below(3) {
        let mut planted = needles[random.below(needles.len())].bytes.clone();
        for _ in 0..random.below(3) {
            let at = random.below(planted.len() + 1);
            planted.splice(at..at, pieces[random.below(pieces.len())].bytes());
        }
        let at = random.below(input.len() + 1);
        input.splice(at..at, planted);
    }
    (needles, input)
}

fn compare(random: &mut Random, most: usize) {
    let (needles, input) = case(random, most);
    let set = build(&needles);
    let expected = oracle(&input, &needles);
    let bytewise: Vec<usize> = (1..input.len()).collect();
    check(&needles, &set, &input, &[], &expected);
    check(&needles, &set, &input, &bytewise, &expected);
    check(&needles, &set, &input, &random.cuts(input.len()), &expected);
}

#[test]
fn random_cases_match_the_oracle() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..20_000 {
        compare(&mut random, 24);
    }
}

#[test]
fn every_chunking_of_short_inputs_matches_the_oracle() {
    let sets: [&[Needle]; 4] = [
        &[needle("aaab", 0), needle("abab", 0), needle("ababab", WRAPPED)],
        &[needle("aaaa", TOKEN), needle("aaaaa", 0), needle("baaab", WRAPPED)],
        &[needle("abba", SPACED), needle("abba", TOKEN), needle("bbaa", WRAPPED)],
        &[needle("a\x08ab", 0), needle("aaaab", WRAPPED), needle("bbbb", TOKEN)],
    ];
    let mut random = Random(77);
    for needles in sets {
        let set = build(needles);
        for _ in 0..60 {
            let mut input = random.text(&["a", "b", "a", "b", "\n", "\x08", "\x1b[m", " "], 4, 9);
            input.truncate(10);
            let expected = oracle(&input, needles);
            for bits in 0..1u32 << (input.len() - 1) {
                let cuts: Vec<usize> = (1..input.len()).filter(|at| bits >> (at - 1) & 1 == 1).collect();
                check(needles, &set, &input, &cuts, &expected);
            }
        }
    }
}

#[test]
fn all_short_texts_over_two_letters_match_the_oracle() {
    let needles = [needle("aabaa", 0), needle("abaab", WRAPPED), needle("bbbb", TOKEN), needle("babb", SPACED)];
    let set = build(&needles);
    for length in 1..=11 {
        for bits in 0..1u32 << length {
            let input: Vec<u8> = (0..length).map(|at| b'a' + (bits >> at & 1) as u8).collect();
            let expected = oracle(&input, &needles);
            let bytewise: Vec<usize> = (1..length).collect();
            check(&needles, &set, &input, &bytewise, &expected);
            check(&needles, &set, &input, &[], &expected);
        }
    }
}

#[test]
fn the_gap_limit_acts_at_the_same_byte_at_any_chunking_and_bounds_what_is_held() {
    let mut random = Random(4242);
    for _ in 0..20_000 {
        let (needles, input) = case(&mut random, 30);
        let limit = 1 + random.below(8);
        let set = build(&needles);
        let longest = needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or(0);
        let bytewise: Vec<usize> = (1..input.len()).collect();
        let (expected, steps) = run(&set, &input, &bytewise, limit as u64);
        for cuts in [vec![], random.cuts(input.len())] {
            let (marks, holds) = run(&set, &input, &cuts, limit as u64);
            let case = || format!("needles {needles:?}\ninput {:?}\ncuts {cuts:?} limit {limit}", String::from_utf8_lossy(&input));
            assert_eq!(marks, expected, "{}", case());
            for (end, hold) in holds {
                assert!(hold as usize <= longest + limit, "{hold} held; {}", case());
                if let Some(step) = steps.iter().find(|step| step.0 == end) {
                    assert_eq!(hold, step.1, "held after {end}; {}", case());
                }
            }
        }
    }
}

/// Long texts with few matches, where the sieve skips most: in one piece and at random cuts, with every scan loop, as byte by byte, where
/// it can skip nothing. `round` varies how short the shortest needle is, by which the sieve samples.
fn compare_skipped(random: &mut Random, round: usize) {
    let letters: Vec<String> = (b'a'..=b'z').chain(b'0'..=b'9').map(|byte| char::from(byte).to_string()).collect();
    let mut pieces: Vec<&str> = letters.iter().map(String::as_str).collect();
    let plain = pieces.len();
    pieces.extend(["\n", "\r\n", "\x1b[1m", "\x1b[m", " ", " ", "  ", "\x1b]0;title\x07", "\x08", "\t", "\n\n"]);
    let needles: Vec<Needle> = (0..1 + random.below(40))
        .map(|_| {
            let flags = [0, WRAPPED, WRAPPED, TOKEN, SPACED][random.below(5)];
            // Of every shortest length the sieve samples differently.
            let most = 18 + random.below(30);
            let bytes = random.text(&pieces[..plain], 4 + round % 14, most);
            Needle { bytes: if flags == TOKEN { bytes[..bytes.len().min(32)].to_vec() } else { bytes }, flags }
        })
        .collect();
    let mut input = Vec::new();
    for _ in 0..1 + random.below(20) {
        let most = random.below(400);
        let filler = if random.below(3) == 0 { &pieces[..] } else { &pieces[..plain] };
        input.extend(random.text(filler, 0, most));
        let mut planted = needles[random.below(needles.len())].bytes.clone();
        planted.truncate(planted.len() - [0, 0, 1, planted.len() / 2][random.below(4)]);
        for _ in 0..random.below(3) {
            let at = random.below(planted.len() + 1);
            planted.splice(at..at, pieces[plain + random.below(pieces.len() - plain)].bytes());
        }
        input.extend(planted);
    }
    let set = build(&needles);
    let bytewise: Vec<usize> = (1..input.len()).collect();
    let (expected, steps) = run(&set, &input, &bytewise, 1 << 16);
    for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
        let few: Vec<usize> = (1..input.len()).filter(|_| random.below(150) == 0).collect();
        for cuts in [vec![], few, random.cuts(input.len())] {
            let (marks, holds) = run_with(simd, &set, &input, &cuts, 1 << 16);
            let case = || format!("{simd:?} needles {needles:?}\ninput {:?}\ncuts {cuts:?}", String::from_utf8_lossy(&input));
            assert!(marks == expected, "{}", case());
            for (end, hold) in holds {
                if let Some(step) = steps.iter().find(|step| step.0 == end) {
                    assert_eq!(hold, step.1, "held after {end}; {}", case());
                }
            }
        }
    }
}

#[test]
fn what_the_sieve_skips_matches_nothing() {
    let mut random = Random(0xfeed_beef);
    (0..800).for_each(|round| compare_skipped(&mut random, round));
}

/// Every scan loop, sets of 1 to 100,000 needles, a needle at every shift against the words of the kernel: each is found, and nothing else.
#[test]
fn sets_of_all_sizes_find_their_needles_at_every_shift() {
    let letters: Vec<String> = (b'a'..=b'z').chain(b'A'..=b'Z').map(|byte| char::from(byte).to_string()).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let mut random = Random(31);
    for (size, least) in [(1, 4), (2, 5), (7, 7), (30, 8), (100, 11), (300, 15), (1000, 8), (10_000, 15), (100_000, 12)] {
        let needles: Vec<Needle> = (0..size).map(|_| Needle { bytes: random.text(&letters, least, least + 24), flags: WRAPPED }).collect();
        let set = build(&needles);
        let mut input = Vec::new();
        let mut planted = vec![];
        for shift in 0..260 {
            // Digits: no needle has any.
            input.extend(random.text(&["1", "2", "3", "4", " ", "7\n"], 70, 70));
            input.resize(input.len().next_multiple_of(64) + shift % 64, b'0');
            planted.push(input.len()..input.len() + needles[shift % size].bytes.len());
            input.extend(&needles[shift % size].bytes);
        }
        input.extend([b'0'; 100]);
        let expected: Vec<bool> = (0..input.len()).map(|at| planted.iter().any(|range| range.contains(&at))).collect();
        for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
            for cuts in [vec![], (1..input.len() / 4096).map(|cut| cut * 4096).collect(), random.cuts(input.len())] {
                let (marks, _) = run_with(simd, &set, &input, &cuts, 1 << 16);
                assert!(marks.masked == expected, "{simd:?}, {size} needles, cuts {cuts:?}");
            }
        }
    }
}

/// The gap limit with needles that the sieve samples by long windows: what is cut there leaves a fragment, in one piece as byte by byte.
#[test]
fn the_gap_limit_is_the_sieves_too() {
    let mut random = Random(77);
    for _ in 0..4_000 {
        let needles: Vec<Needle> = (0..1 + random.below(6))
            .map(|_| {
                let least = 8 + random.below(10);
                Needle { bytes: random.text(&["a", "b", "c", "d", "e", "f"], least, 40), flags: [0, WRAPPED, WRAPPED, SPACED][random.below(4)] }
            })
            .collect();
        let mut input = Vec::new();
        for _ in 0..1 + random.below(4) {
            input.extend(random.text(&["x", "y", "z", "\n", " "], 0, 60));
            let planted = needles[random.below(needles.len())].bytes.clone();
            let mut at = 0;
            while at < planted.len() {
                let length = (1 + random.below(12)).min(planted.len() - at);
                input.extend(&planted[at..at + length]);
                at += length;
                let repeats = random.below(3) * random.below(12);
                let gap = ["\n", "\x1b[m", " ", "\x1b]0;t\x07"][random.below(4)];
                input.extend(gap.repeat(repeats).bytes());
                if random.below(6) == 0 {
                    break;
                }
            }
        }
        let set = build(&needles);
        let limit = (1 + random.below(100)) as u64;
        let bytewise: Vec<usize> = (1..input.len()).collect();
        let (expected, _) = run(&set, &input, &bytewise, limit);
        for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
            for cuts in [vec![], (1..input.len()).filter(|_| random.below(100) == 0).collect()] {
                let (marks, _) = run_with(simd, &set, &input, &cuts, limit);
                assert!(marks == expected, "limit {limit} {simd:?} needles {needles:?}\ninput {:?}\ncuts {cuts:?}", String::from_utf8_lossy(&input));
            }
        }
    }
}

/// The oracle itself must be able to say no.
#[test]
#[should_panic(expected = "cuts")]
fn canary_a_wrong_set_of_needles_is_noticed() {
    let needles = [needle("abab", 0)];
    let expected = oracle(b"xababx", &needles);
    check(&needles, &build(&[needle("abax", 0)]), b"xababx", &[], &expected);
}

/// Time-boxed: `FUZZ_SECONDS=60 cargo test --release -- --ignored fuzz`. Prints its seed first, so that a failure can be run again with `FUZZ_SEED`.
#[test]
#[ignore = "takes FUZZ_SECONDS"]
fn fuzz() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    let seed = number("FUZZ_SEED").unwrap_or(clock) | 1;
    println!("FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(10));
    let mut cases = 0u64;
    while std::time::Instant::now() < end {
        compare(&mut random, 60);
        if cases.is_multiple_of(20) {
            compare_skipped(&mut random, cases as usize / 20);
        }
        cases += 1;
    }
    println!("{cases} cases");
}
