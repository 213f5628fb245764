//! Throughput of the core alone: `cargo run --release -p logveil-core --example bench -- FILE...` (plain text; gunzip first).
//! 15,000 random needles of 10-80 bytes, chunks of 64 KiB. Prints build time, memory per needle and MB/s on the files and on two adversaries.

use std::sync::Arc;
use std::time::Instant;

use logveil_core::{NeedleSet, SecretBuf, Simd, Stream, WRAPPED};

const CHUNK_BYTES: usize = 64 << 10;

fn build(needles: &[Vec<u8>]) -> Arc<NeedleSet> {
    let mut offsets = vec![0u32];
    for needle in needles {
        offsets.push(offsets[offsets.len() - 1] + needle.len() as u32);
    }
    let flags: Vec<u8> = needles.iter().map(|needle| if needle.len() >= 12 { WRAPPED } else { 0 }).collect();
    let start = Instant::now();
    let set = NeedleSet::build(&SecretBuf::copy_of(&needles.concat()), &offsets, &flags).expect("valid needles");
    println!(
        "{} needles of {} bytes built in {:.0} ms; {:.0} bytes of memory per needle, {:.0} % locked",
        set.needles(),
        set.needle_bytes(),
        start.elapsed().as_secs_f64() * 1e3,
        set.memory_bytes() as f64 / set.needles() as f64,
        100.0 * set.locked_bytes() as f64 / set.memory_bytes() as f64,
    );
    Arc::new(set)
}

fn measure(name: &str, set: &Arc<NeedleSet>, text: &[u8]) {
    for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
        let mut best = f64::MAX;
        let mut rows = 0;
        for _ in 0..3 {
            let mut stream = Stream::new(vec![set.clone()], 0, 64 << 10, simd).expect("valid state");
            let start = Instant::now();
            rows = text.chunks(CHUNK_BYTES).map(|chunk| stream.scan(chunk)).sum();
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{name}, {}: {:.0} MB/s ({rows} rows)", simd.name(), text.len() as f64 / best / 1e6);
    }
}

fn main() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |limit: usize| {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    };
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let needles: Vec<Vec<u8>> = (0..15_000).map(|_| (0..10 + random(71)).map(|_| alphabet[random(64)]).collect()).collect();
    let set = build(&needles);
    for file in std::env::args().skip(1) {
        let text = std::fs::read(&file).expect("readable file");
        measure(&file, &set, &text);
    }
    // Text made of near-misses: every needle but its last byte.
    let misses: Vec<u8> = needles.iter().flat_map(|needle| needle[..needle.len() - 1].to_vec()).cycle().take(8 << 20).collect();
    measure("near misses", &set, &misses);
    // One needle that repeats itself, in plain text, cut by colours at every byte, and wrapped at every byte.
    let repeating = build(&[vec![b'a'; 10_000]]);
    measure("self-repeating", &repeating, &vec![b'a'; 8 << 20]);
    measure("self-repeating, coloured", &repeating, &b"a\x1b[m".repeat(32 << 10));
    measure("self-repeating, wrapped", &repeating, &b"a\n".repeat(64 << 10));
}
