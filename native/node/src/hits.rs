//! What rules ask of the native engine: anchors, and what is encoded. Scans answer hits, two numbers each: what, and how many bytes before the end of the input.

use std::sync::Arc;

use logveil_core::{AnchorSet, AnchorStream as CoreAnchorStream, AnchorTable, EncodedStream as CoreEncodedStream};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::{MAX_CHUNK_BYTES, RELEASED, chosen_simd, overlap, range, refused};

/// Anchors, ready to search. They are no secrets.
#[napi]
pub struct Anchors {
    set: Arc<AnchorSet>,
}

#[napi]
impl Anchors {
    /// The arguments are copied.
    #[napi(constructor, catch_unwind)]
    pub fn new(bytes: &[u8], offsets: &[u32], flags: &[u8], hints: &[u8], reaches: &[u16], alphabets: &[u8], words: &[u8]) -> Result<Self> {
        AnchorSet::new(&AnchorTable { bytes, offsets, flags, hints, reaches, alphabets, words })
            .map(|set| Self { set: Arc::new(set) })
            .ok_or_else(|| refused("no table of anchors of 3 to 32 bytes"))
    }
}

/// Streams whose scans answer hits, two numbers each.
trait Hits {
    fn scan(&mut self, chunk: &[u8]);
    fn hits(&self) -> &[(u32, u32)];
    fn reset(&mut self);
}

impl Hits for CoreAnchorStream {
    fn scan(&mut self, chunk: &[u8]) {
        self.scan(chunk);
    }
    fn hits(&self) -> &[(u32, u32)] {
        self.hits()
    }
    fn reset(&mut self) {
        self.reset();
    }
}

impl Hits for CoreEncodedStream {
    fn scan(&mut self, chunk: &[u8]) {
        self.scan(chunk);
    }
    fn hits(&self) -> &[(u32, u32)] {
        self.hits()
    }
    fn reset(&mut self) {
        self.reset();
    }
}

/// Scans the next bytes; writes as many hits as fit; returns how many there are. A stream that panicked is gone.
fn scan_hits(stream: &mut Option<impl Hits>, chunk: &[u8], hits: Uint32ArraySlice) -> Result<u32> {
    if chunk.len() > MAX_CHUNK_BYTES {
        return Err(refused("a chunk of more than 16 MiB"));
    }
    if overlap(range(chunk), range(&hits)) {
        return Err(refused("the chunk shares memory with the hits"));
    }
    let mut taken = stream.take().ok_or_else(|| refused(RELEASED))?;
    taken.scan(chunk);
    take_hits(stream.insert(taken), hits)
}

fn take_hits(stream: &impl Hits, mut hits: Uint32ArraySlice) -> Result<u32> {
    let found = stream.hits();
    // SAFETY: JavaScript does not run during the call, so nothing else reads or writes the array.
    let (pairs, _) = unsafe { hits.as_mut() }.as_chunks_mut::<2>();
    for (pair, &(what, back)) in pairs.iter_mut().zip(found) {
        *pair = [what, back];
    }
    Ok(found.len() as u32)
}

/// Forgets a stream's bytes, so that another one can go on with it. False for one that panicked.
fn reset(stream: &mut Option<impl Hits>) -> bool {
    stream.as_mut().map(Hits::reset).is_some()
}

/// The anchors of one stream.
#[napi]
pub struct AnchorStream {
    stream: Option<CoreAnchorStream>,
}

#[napi]
impl AnchorStream {
    #[napi(constructor, catch_unwind)]
    pub fn new(anchors: ClassInstance<Anchors>) -> Result<Self> {
        Ok(Self { stream: Some(CoreAnchorStream::new(anchors.set.clone(), chosen_simd()?)) })
    }

    /// Scans the next bytes; writes as many hits as fit, two numbers each; returns how many there are.
    #[napi(catch_unwind)]
    pub fn scan(&mut self, chunk: &[u8], hits: Uint32ArraySlice) -> Result<u32> {
        scan_hits(&mut self.stream, chunk, hits)
    }

    /// Writes the hits of the last scan again, into an array that is large enough now. Returns how many there are.
    #[napi(catch_unwind)]
    pub fn take(&mut self, hits: Uint32ArraySlice) -> Result<u32> {
        take_hits(self.stream.as_ref().ok_or_else(|| refused(RELEASED))?, hits)
    }

    /// Begins anew: what was scanned is forgotten. False if that cannot be, since a call before failed.
    #[napi(catch_unwind)]
    pub fn reset(&mut self) -> bool {
        reset(&mut self.stream)
    }
}

/// What base64 and hex hide in one stream.
#[napi]
pub struct EncodedStream {
    stream: Option<CoreEncodedStream>,
}

#[napi]
impl EncodedStream {
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Result<Self> {
        Ok(Self { stream: Some(CoreEncodedStream::new(chosen_simd()?)) })
    }

    /// Scans the next bytes; writes as many hits as fit, two numbers each; returns how many there are.
    #[napi(catch_unwind)]
    pub fn scan(&mut self, chunk: &[u8], hits: Uint32ArraySlice) -> Result<u32> {
        scan_hits(&mut self.stream, chunk, hits)
    }

    /// Writes the hits of the last scan again, into an array that is large enough now. Returns how many there are.
    #[napi(catch_unwind)]
    pub fn take(&mut self, hits: Uint32ArraySlice) -> Result<u32> {
        take_hits(self.stream.as_ref().ok_or_else(|| refused(RELEASED))?, hits)
    }

    /// Begins anew: what was scanned is forgotten. False if that cannot be, since a call before failed.
    #[napi(catch_unwind)]
    pub fn reset(&mut self) -> bool {
        reset(&mut self.stream)
    }
}
