//! What `NeedleSet::build` and `Stream::new` refuse, and that refusals name the rule and a number, never bytes.

use std::sync::Arc;

use logveil_core::{BuildError, NeedleSet, SPACED, SecretBuf, Simd, Stream, TOKEN, WRAPPED};

fn refusal(bytes: &[u8], offsets: &[u32], flags: &[u8]) -> BuildError {
    match NeedleSet::build(&SecretBuf::copy_of(bytes), offsets, flags) {
        Ok(_) => panic!("was not refused"),
        Err(error) => error,
    }
}

#[test]
fn tables_that_break_a_rule_are_refused() {
    let bytes = [b'q'; 40];
    assert_eq!(refusal(&bytes, &[0, 40], &[]), BuildError::Counts);
    assert_eq!(refusal(&bytes, &[], &[]), BuildError::Counts);
    assert_eq!(refusal(&bytes, &[0, 41], &[0]), BuildError::Offsets);
    assert_eq!(refusal(&bytes, &[1, 40], &[0]), BuildError::Offsets);
    assert_eq!(refusal(&bytes, &[0, 30, 20, 40], &[0, 0, 0]), BuildError::Offsets);
    assert_eq!(refusal(&bytes, &[0, 37, 40], &[0, 0]), BuildError::Short(1));
    assert_eq!(refusal(&bytes, &[0, 0, 40], &[0, 0]), BuildError::Short(0));
    assert_eq!(refusal(&bytes, &[0, 33, 40], &[TOKEN, 0]), BuildError::LongToken(0));
    for flags in [WRAPPED | SPACED, WRAPPED | TOKEN, SPACED | TOKEN, 8, 255] {
        assert_eq!(refusal(&bytes, &[0, 20, 40], &[0, flags]), BuildError::Flags(1));
    }
}

#[test]
fn refusals_hold_no_bytes() {
    assert!(!refusal(b"qqq", &[0, 3], &[0]).to_string().contains("qqq"));
}

#[test]
fn an_empty_set_and_no_set_match_nothing_and_hold_nothing() {
    let empty = Arc::new(NeedleSet::build(&SecretBuf::zeroed(0), &[0], &[]).expect("valid"));
    for sets in [vec![], vec![empty]] {
        let mut stream = Stream::new(sets, 0, 0, Simd::best()).expect("valid state");
        assert_eq!(stream.scan(b"text\x1b[31m\x08\n"), 0);
        assert_eq!((stream.head().hold, stream.head().pending, stream.idle()), (0, 0, 0));
    }
}

#[test]
fn an_unknown_parser_state_is_refused() {
    assert!(Stream::new(vec![], 5, 0, Simd::best()).is_some());
    assert!(Stream::new(vec![], 6, 0, Simd::best()).is_none());
}

#[test]
fn line_feeds_are_counted_on_every_loop_at_every_length() {
    for simd in Simd::ALL.into_iter().filter(|simd| simd.available()) {
        for length in (0..300).chain([8159, 8160, 8161, 8192, 20_000]) {
            // One line feed in three bytes, and nothing but line feeds: more than a byte counts.
            for text in [b"\n-\r".repeat(length).as_slice(), &vec![b'\n'; length]] {
                let mut stream = Stream::new(vec![], 0, 0, simd).expect("valid state");
                stream.scan(text);
                assert_eq!(stream.head().lines, text.iter().filter(|&&byte| byte == b'\n').count() as u64, "{simd:?}, {length}");
            }
        }
    }
}
