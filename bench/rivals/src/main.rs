//! Other matchers on the same needles and text: `logveil-rivals NEEDLES TEXT CHUNK_BYTES ROUNDS`. Prints a line of JSON for each: name, MB/s, matches found.
//!
//! NEEDLES: a u32 count, then for each needle a u32 length, a byte that is not used here, and its bytes. TEXT is scanned in chunks, one thread.
//! Vectorscan is opened at run time (`libhs.so.5`, Debian: libvectorscan5): without it, it says so and is left out.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::hint::black_box;
use std::time::Instant;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

fn needles(file: &str) -> Vec<Vec<u8>> {
    let data = std::fs::read(file).expect("the file of needles can be read");
    let number = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("4 bytes")) as usize;
    let mut at = 4;
    (0..number(0))
        .map(|_| {
            let length = number(at);
            at += 5 + length;
            data[at - length..at].to_vec()
        })
        .collect()
}

/// Runs `pass`, which answers the matches found, and prints the median speed.
fn measure(name: &str, text: &[u8], rounds: usize, mut pass: impl FnMut() -> usize) {
    let mut speeds = Vec::new();
    let mut matches = 0;
    for _ in 0..rounds {
        let start = Instant::now();
        matches = pass();
        speeds.push(text.len() as f64 / start.elapsed().as_secs_f64() / 1e6);
    }
    speeds.sort_by(f64::total_cmp);
    println!("{{\"name\":\"{name}\",\"speed\":{:.1},\"matches\":{matches}}}", speeds[rounds / 2]);
}

/// Matches of `matcher` in the text, in chunks. Those that go across chunks are not found: it has no stream of its own.
fn in_chunks(matcher: &AhoCorasick, text: &[u8], chunk: usize) -> usize {
    text.chunks(chunk).map(|chunk| matcher.find_iter(chunk).count()).sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let needles = needles(&arguments[1]);
    let text = std::fs::read(&arguments[2]).expect("the text can be read");
    let chunk: usize = arguments[3].parse().expect("a number of bytes");
    let rounds: usize = arguments[4].parse().expect("a number of rounds");

    let mut copy = vec![0u8; chunk];
    measure("memcpy", &text, rounds, || {
        for piece in text.chunks(chunk) {
            copy[..piece.len()].copy_from_slice(piece);
            black_box(&copy);
        }
        0
    });
    let automatic = AhoCorasick::new(&needles).expect("needles that aho-corasick takes");
    measure("aho-corasick", &text, rounds, || in_chunks(&automatic, &text, chunk));
    // A row of 256 states for each byte of each needle: beyond that many needles it is gigabytes.
    if needles.len() <= 10_000 {
        let dense = AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(&needles).expect("needles that aho-corasick takes");
        measure("dense DFA", &text, rounds, || in_chunks(&dense, &text, chunk));
    }
    match Vectorscan::new(&needles) {
        Ok(vectorscan) => measure("Vectorscan", &text, rounds, || vectorscan.stream(&text, chunk)),
        Err(reason) => eprintln!("Vectorscan is left out: {reason}"),
    }
}

type Handle = *mut c_void;
type OnMatch = extern "C" fn(c_uint, c_ulonglong, c_ulonglong, c_uint, *mut c_void) -> c_int;
type Compile = unsafe extern "C" fn(
    *const *const c_char,
    *const c_uint,
    *const c_uint,
    *const usize,
    c_uint,
    c_uint,
    *const c_void,
    *mut Handle,
    *mut Handle,
) -> c_int;
type AllocScratch = unsafe extern "C" fn(Handle, *mut Handle) -> c_int;
type OpenStream = unsafe extern "C" fn(Handle, c_uint, *mut Handle) -> c_int;
type ScanStream = unsafe extern "C" fn(Handle, *const c_char, c_uint, c_uint, Handle, OnMatch, *mut c_void) -> c_int;
type CloseStream = unsafe extern "C" fn(Handle, Handle, OnMatch, *mut c_void) -> c_int;

/// Streaming literals, by its C interface (hs_compile.h, hs_runtime.h).
struct Vectorscan {
    library: libloading::Library,
    database: Handle,
    scratch: Handle,
}

const HS_MODE_STREAM: c_uint = 2;

extern "C" fn count(_: c_uint, _: c_ulonglong, _: c_ulonglong, _: c_uint, matches: *mut c_void) -> c_int {
    // SAFETY: `stream` passes a pointer to its own counter and outlives the call.
    unsafe { *matches.cast::<usize>() += 1 };
    0
}

impl Vectorscan {
    fn new(needles: &[Vec<u8>]) -> Result<Self, String> {
        let names = ["libhs.so.5", "libhs.5.dylib"];
        // SAFETY: loading the library runs its initialisers only.
        let library = names.iter().find_map(|name| unsafe { libloading::Library::new(name) }.ok()).ok_or("libhs.so.5 is not installed")?;
        let expressions: Vec<*const c_char> = needles.iter().map(|needle| needle.as_ptr().cast()).collect();
        let lengths: Vec<usize> = needles.iter().map(Vec::len).collect();
        let ids: Vec<c_uint> = (0..needles.len() as c_uint).collect();
        let flags = vec![0; needles.len()];
        let (mut database, mut error, mut scratch) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the types are those of the headers, the arrays have as many entries as there are needles and live through the calls.
        let codes = unsafe {
            let compile = library.get::<Compile>(b"hs_compile_lit_multi").map_err(|error| error.to_string())?;
            let alloc = library.get::<AllocScratch>(b"hs_alloc_scratch").map_err(|error| error.to_string())?;
            let count = needles.len() as c_uint;
            let compiled = compile(
                expressions.as_ptr(),
                flags.as_ptr(),
                ids.as_ptr(),
                lengths.as_ptr(),
                count,
                HS_MODE_STREAM,
                std::ptr::null(),
                &raw mut database,
                &raw mut error,
            );
            if compiled == 0 { [0, alloc(database, &raw mut scratch)] } else { [compiled, 0] }
        };
        if codes == [0, 0] { Ok(Self { library, database, scratch }) } else { Err(format!("it refuses the needles with {codes:?}")) }
    }

    fn stream(&self, text: &[u8], chunk: usize) -> usize {
        let mut matches = 0usize;
        let context: *mut c_void = (&raw mut matches).cast();
        let mut stream = std::ptr::null_mut();
        // SAFETY: the types are those of the headers; the stream lives between open and close, the counter through both.
        unsafe {
            let open = self.library.get::<OpenStream>(b"hs_open_stream").expect("hs_open_stream");
            let scan = self.library.get::<ScanStream>(b"hs_scan_stream").expect("hs_scan_stream");
            let close = self.library.get::<CloseStream>(b"hs_close_stream").expect("hs_close_stream");
            assert_eq!(open(self.database, 0, &raw mut stream), 0);
            for piece in text.chunks(chunk) {
                assert_eq!(scan(stream, piece.as_ptr().cast(), piece.len() as c_uint, 0, self.scratch, count, context), 0);
            }
            assert_eq!(close(stream, self.scratch, count, context), 0);
        }
        matches
    }
}
