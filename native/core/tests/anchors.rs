//! Anchors against a naive search: every loop, every chunking, table sizes from none to thousands.

use logveil_core::{AnchorSet, AnchorStream, AnchorTable, Simd};
use std::sync::Arc;

/// A small generator, so that a failure can be repeated: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn text(&mut self, alphabet: &[u8], length: usize) -> Vec<u8> {
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

const FOLD: u8 = 1;

fn set_of(bytes: &[u8], offsets: &[u32], flags: &[u8], hints: &[u8], reaches: &[u16], alphabets: &[u8], words: &[u8]) -> Option<AnchorSet> {
    AnchorSet::new(&AnchorTable { bytes, offsets, flags, hints, reaches, alphabets, words })
}

fn build(anchors: &[(Vec<u8>, u8)], random: &mut Random) -> Arc<AnchorSet> {
    let mut offsets = vec![0];
    let mut hints = Vec::new();
    for (literal, _) in anchors {
        offsets.push(offsets.last().unwrap() + literal.len() as u32);
        let windows = literal.len().saturating_sub(4).max(1);
        hints.extend([0, 0, random.below(windows) as u8]);
    }
    let bytes: Vec<u8> = anchors.iter().flat_map(|(literal, _)| literal.clone()).collect();
    let flags: Vec<u8> = anchors.iter().map(|&(_, flags)| flags).collect();
    Arc::new(set_of(&bytes, &offsets, &flags, &hints, &vec![0; 6 * flags.len()], &[], &[]).expect("a table"))
}

fn naive(anchors: &[(Vec<u8>, u8)], text: &[u8]) -> Vec<(usize, u32)> {
    let mut hits = Vec::new();
    for at in 0..text.len() {
        for (anchor, (literal, flags)) in anchors.iter().enumerate() {
            let Some(here) = text.get(at..at + literal.len()) else { continue };
            if if flags & FOLD != 0 { here.eq_ignore_ascii_case(literal) } else { here == literal.as_slice() } {
                hits.push((at, anchor as u32));
            }
        }
    }
    hits
}

#[test]
fn finds_what_a_naive_search_finds() {
    let mut random = Random(7);
    for round in 0..300 {
        let alphabet: &[u8] = [b"abAB_".as_slice(), b"abcdefghij-_0123456789XYZ", b"\x00\x7f\x80\xffab"][round % 3];
        let count = [0, 1, 3, 40, 2000][round % 5];
        let anchors: Vec<(Vec<u8>, u8)> = (0..count)
            .map(|_| {
                let flags = random.below(2) as u8;
                let length = 3 + random.below(if round % 2 == 0 { 6 } else { 30 });
                let literal = random.text(alphabet, length);
                (if flags & FOLD != 0 { literal.to_ascii_lowercase() } else { literal }, flags)
            })
            .collect();
        let mut text = random.text(alphabet, 600);
        for (literal, _) in anchors.iter().take(20) {
            text.extend_from_slice(literal);
            let extra = random.below(70);
            text.extend(random.text(alphabet, extra));
        }
        let wanted = naive(&anchors, &text);
        let set = build(&anchors, &mut random);
        for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
            for size in [text.len().max(1), 1, 5, 63, 64, 65, 200] {
                let mut stream = AnchorStream::new(set.clone(), simd);
                let mut found = Vec::new();
                let mut total = 0;
                for chunk in text.chunks(size) {
                    total += chunk.len();
                    stream.scan(chunk);
                    found.extend(stream.hits().iter().map(|&(anchor, back)| (total - back as usize, anchor)));
                }
                found.sort_unstable();
                assert_eq!(found, wanted, "round {round}, {simd:?}, chunks of {size}");
            }
        }
    }
}

/// Anchors of every length with what must follow them, at every offset around the ends of words, of blocks, and of chunks.
#[test]
fn finds_anchors_with_what_follows_at_every_offset() {
    let literals: [(&[u8], u8); 12] = [
        (b"k3y", 0),
        (b"ab_", FOLD),
        (b"://", 0),
        (b"Zq-7", 0),
        (b"wo\x00d", FOLD),
        (b"five5", FOLD),
        (b"[five", 0),
        (b"@sixth", FOLD),
        (b"{Seven}", 0),
        (b"nineteen-letter-one", FOLD),
        (b"A_B_C_D_E_F_G_H_I_J_K_L_M_N_O_P_", 0),
        (b"zzz", 0),
    ];
    // Upper-case letters alone may follow, one or three of them; nothing need follow every third anchor.
    let alphabet: Vec<u8> = (0..=255u8).map(|byte| u8::from(byte.is_ascii_uppercase())).collect();
    let counts: Vec<usize> = (0..literals.len()).map(|anchor| [1, 3, 0][anchor % 3]).collect();
    let bytes: Vec<u8> = literals.iter().flat_map(|(literal, _)| literal.to_vec()).collect();
    let mut offsets = vec![0];
    literals.iter().for_each(|(literal, _)| offsets.push(offsets[offsets.len() - 1] + literal.len() as u32));
    let flags: Vec<u8> = literals.iter().map(|&(_, flags)| flags).collect();
    let keys = |last: bool| literals.map(|(literal, _)| if last { literal.len().saturating_sub(5) } else { 0 } as u8);
    for keys in [keys(false), keys(true)] {
        let hints: Vec<u8> = counts.iter().zip(keys).flat_map(|(&count, key)| [0, count as u8, key]).collect();
        let set = Arc::new(set_of(&bytes, &offsets, &flags, &hints, &vec![0; 6 * flags.len()], &alphabet, &[]).expect("a table"));
        for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
            for (anchor, (literal, flags)) in literals.iter().enumerate() {
                let written = [literal.to_vec(), literal.to_ascii_uppercase()];
                for (text, behind) in written.iter().take(1 + usize::from(flags & FOLD)).flat_map(|text| [(text, "XYZ"), (text, "X.Z"), (text, "")]) {
                    for around in [0, 64, 4096, 8192] {
                        for start in (around - literal.len().min(around)).saturating_sub(9)..around + 9 {
                            let mut log = vec![b'.'; start];
                            log.extend_from_slice(text);
                            log.extend_from_slice(behind.as_bytes());
                            // At the end of the log what must follow is not there yet.
                            let wanted = behind.is_empty() || behind.bytes().take(counts[anchor]).all(|byte| byte.is_ascii_uppercase());
                            if !behind.is_empty() {
                                log.extend([b'.'; 80]);
                            }
                            let mut stream = AnchorStream::new(set.clone(), simd);
                            stream.scan(&log);
                            let hit = [(anchor as u32, (log.len() - start) as u32)];
                            assert_eq!(stream.hits(), if wanted { &hit[..] } else { &[] }, "{simd:?}, anchor {anchor} at {start} before {behind:?}");
                            for cut in (start + 1..start + text.len()).filter(|_| wanted && around == 64) {
                                let mut stream = AnchorStream::new(set.clone(), simd);
                                stream.scan(&log[..cut]);
                                assert_eq!(stream.hits(), &[]);
                                stream.scan(&log[cut..]);
                                assert_eq!(stream.hits(), &hit, "{simd:?}, anchor {anchor} at {start} cut at {cut}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn refuses_what_is_no_table() {
    assert!(set_of(b"ab", &[0, 2], &[0], &[0, 0, 0], &[0; 6], &[], &[]).is_none());
    assert!(set_of(b"abc", &[0, 3], &[8], &[0, 0, 0], &[0; 6], &[], &[]).is_none());
    assert!(set_of(b"abc", &[0, 4], &[0], &[0, 0, 0], &[0; 6], &[], &[]).is_none());
    assert!(set_of(b"abc", &[0, 3], &[0], &[0, 1, 0], &[0; 6], &[], &[]).is_none());
    assert!(set_of(b"abcde", &[0, 5], &[0], &[0, 0, 1], &[0; 6], &[], &[]).is_none());
    assert!(set_of(b"abc", &[0, 3], &[0], &[0, 0, 0], &[0; 6], &[], &[]).is_some());
    assert!(set_of(b"abc", &[0, 3], &[0], &[0, 0, 0], &[0; 5], &[], &[]).is_none());
    assert!(set_of(b"abc", &[0, 3], &[0], &[0, 0, 0], &[1, 0, 1, 0, 0, 0], &[], &[]).is_none());
    assert!(set_of(b"abc", &[0, 3], &[0], &[0, 0, 0], &[1, 0, 2, 0, 0, 0], &[0; 256], &[]).is_none());
    assert!(set_of(b"abc", &[0, 3], &[0], &[0, 0, 0], &[1, 0, 1, 0, 0, 0], &[0; 256], &[]).is_some());
}

/// What must come behind an anchor within so many bytes, before a byte that may not be passed.
#[test]
fn asks_for_what_must_come() {
    let alphabets: Vec<u8> = [b"abc@".as_slice(), b"@"].iter().flat_map(|set| (0..=255u8).map(|byte| u8::from(set.contains(&byte)))).collect();
    let set = Arc::new(set_of(b"key", &[0, 3], &[0], &[0, 0, 0], &[7, 0, 2, 0, 0, 0], &alphabets, &[]).expect("a table"));
    let cases: [(&[u8], usize); 9] =
        [(b"key@", 1), (b"keyabc@", 1), (b"keyabca@", 0), (b"key.@", 0), (b"keyab.@", 0), (b"keyab", 1), (b"key", 1), (b"keyabca", 0), (b"key@.", 1)];
    for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
        for (text, hits) in cases {
            let mut stream = AnchorStream::new(set.clone(), simd);
            stream.scan(text);
            assert_eq!(stream.hits().len(), hits, "{simd:?} {}", String::from_utf8_lossy(text));
        }
    }
}
