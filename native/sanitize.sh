#!/bin/sh
# Runs the core's tests under AddressSanitizer: finds what `unsafe` in secret_buf.rs could do wrong. Needs a nightly toolchain.
# Release mode: the tests are many small cases. Further arguments go to the test binary, e.g. `./sanitize.sh --ignored fuzz`.
set -eu
cd "$(dirname "$0")"
target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=address -Cdebug-assertions=on"
# Memory from mmap is not leak-checked, everything else is.
export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0"
exec cargo +nightly test --release --locked --target "$target" --target-dir target/sanitize -p logveil-core -- "$@"
