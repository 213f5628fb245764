//! The Node addon: `logveil-core` behind Node-API. Checks every argument, converts, catches panics; native/README.md is the contract.
//! Errors start with a code and never hold bytes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

mod hits;

use logveil_core::{NeedleSet, SecretBuf, Simd, Stream as CoreStream};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Longest chunk of one call, in bytes.
const MAX_CHUNK_BYTES: usize = 16 << 20;
/// Default of `/proc/sys/fs/pipe-max-size`.
#[cfg(target_os = "linux")]
const PIPE_BYTES: libc::c_int = 1 << 20;
/// Numbers in a head: hold, pending, parser, lines.
const HEAD_SIZE: usize = 4;
const RELEASED: &str = "the stream has been released";

fn refused(what: impl std::fmt::Display) -> Error {
    Error::new(Status::InvalidArg, format!("LV_NATIVE_ARGUMENT: {what}"))
}

/// A number from JavaScript as a whole one: Node-API would wrap a negative or too large one silently.
fn whole(number: f64, name: &str) -> Result<u32> {
    let valid = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    if valid { Ok(number as u32) } else { Err(refused(format_args!("{name} must be a whole number from 0 to 2^32 - 1"))) }
}

/// The scan loop: the fastest that runs here, or the one that `LOGVEIL_SIMD` names.
static SIMD: LazyLock<std::result::Result<Simd, String>> = LazyLock::new(|| match std::env::var("LOGVEIL_SIMD") {
    Ok(wanted) if !wanted.is_empty() => {
        let names = || Simd::ALL.into_iter().filter(|simd| simd.available()).map(Simd::name).collect::<Vec<_>>().join(", ");
        let simd = Simd::ALL.into_iter().find(|simd| simd.name() == wanted && simd.available());
        simd.ok_or_else(|| format!("LOGVEIL_SIMD names no scan loop of this machine; there are {}", names()))
    }
    _ => Ok(Simd::best()),
});

fn chosen_simd() -> Result<Simd> {
    SIMD.as_ref().copied().map_err(refused)
}

/// Automata that other threads may open, by number; `last` is the newest number.
#[derive(Default)]
struct SharedSets {
    last: u32,
    sets: HashMap<u32, Arc<NeedleSet>>,
}

static SHARED: LazyLock<Mutex<SharedSets>> = LazyLock::new(Mutex::default);

fn shared_sets() -> MutexGuard<'static, SharedSets> {
    // A panic between two inserts leaves nothing half done: the table stays usable.
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A share of an automaton in native memory.
#[napi]
pub struct SetHandle {
    set: Option<Arc<NeedleSet>>,
    shared: Option<u32>,
}

impl SetHandle {
    fn new(set: Arc<NeedleSet>) -> Self {
        Self { set: Some(set), shared: None }
    }

    fn get(&self) -> Result<&Arc<NeedleSet>> {
        self.set.as_ref().ok_or_else(|| refused("the set has been released"))
    }
}

#[napi]
impl SetHandle {
    #[napi(getter)]
    pub fn needles(&self) -> Result<u32> {
        Ok(self.get()?.needles() as u32)
    }

    #[napi(getter)]
    pub fn needle_bytes(&self) -> Result<f64> {
        Ok(self.get()?.needle_bytes() as f64)
    }

    #[napi(getter)]
    pub fn memory_bytes(&self) -> Result<f64> {
        Ok(self.get()?.memory_bytes() as f64)
    }

    #[napi(getter)]
    pub fn locked_bytes(&self) -> Result<f64> {
        Ok(self.get()?.locked_bytes() as f64)
    }

    /// Registers the automaton process-wide until this handle is released. Worker threads open it by the number.
    #[napi(catch_unwind)]
    pub fn share(&mut self) -> Result<u32> {
        let set = self.get()?.clone();
        if let Some(id) = self.shared {
            return Ok(id);
        }
        let mut shared = shared_sets();
        shared.last = shared.last.checked_add(1).ok_or_else(|| refused("too many shared sets"))?;
        let id = shared.last;
        shared.sets.insert(id, set);
        self.shared = Some(id);
        Ok(id)
    }

    #[napi(factory, catch_unwind)]
    pub fn from_shared(id: f64) -> Result<Self> {
        let id = whole(id, "id")?;
        let set = shared_sets().sets.get(&id).cloned().ok_or_else(|| refused("no set is shared under this number"))?;
        Ok(Self::new(set))
    }

    #[napi(catch_unwind)]
    pub fn release(&mut self) {
        self.set = None;
        if let Some(id) = self.shared.take() {
            shared_sets().sets.remove(&id);
        }
    }
}

impl Drop for SetHandle {
    fn drop(&mut self) {
        self.release();
    }
}

/// Needles on their way to another thread, their bytes in the pieces in which they came.
pub struct BuildTask {
    pieces: Vec<SecretBuf<u8>>,
    offsets: Vec<u32>,
    flags: Vec<u8>,
}

impl BuildTask {
    fn run(&mut self) -> Result<Arc<NeedleSet>> {
        let bytes = joined(std::mem::take(&mut self.pieces));
        NeedleSet::build(&bytes, &self.offsets, &self.flags).map(Arc::new).map_err(refused)
    }
}

impl Task for BuildTask {
    type Output = Arc<NeedleSet>;
    type JsValue = SetHandle;

    fn compute(&mut self) -> Result<Self::Output> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| Err(refused("building failed")))
    }

    fn resolve(&mut self, _env: Env, set: Self::Output) -> Result<Self::JsValue> {
        Ok(SetHandle::new(set))
    }
}

fn joined(mut pieces: Vec<SecretBuf<u8>>) -> SecretBuf<u8> {
    if pieces.len() == 1 {
        return pieces.remove(0);
    }
    let mut whole = SecretBuf::zeroed(pieces.iter().map(SecretBuf::bytes).sum());
    let mut at = 0;
    for piece in pieces {
        whole[at..at + piece.len()].copy_from_slice(&piece);
        at += piece.len();
    }
    whole
}

/// Builds an automaton on this thread. The arguments are copied.
#[napi(catch_unwind)]
pub fn build(bytes: &[u8], offsets: &[u32], flags: &[u8]) -> Result<SetHandle> {
    BuildTask { pieces: vec![SecretBuf::copy_of(bytes)], offsets: offsets.to_vec(), flags: flags.to_vec() }.run().map(SetHandle::new)
}

/// Bytes of needles that come in pieces, so that copying many does not hold their thread; built into an automaton on the thread pool.
#[napi]
#[derive(Default)]
pub struct NeedleBytes {
    pieces: Vec<SecretBuf<u8>>,
}

#[napi]
impl NeedleBytes {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies a piece.
    #[napi(catch_unwind)]
    pub fn push(&mut self, piece: &[u8]) {
        self.pieces.push(SecretBuf::copy_of(piece));
    }

    /// Builds an automaton of all that was pushed, which is then gone from here. Offsets and flags are copied before the call returns.
    #[napi(catch_unwind)]
    pub fn build(&mut self, offsets: &[u32], flags: &[u8]) -> AsyncTask<BuildTask> {
        AsyncTask::new(BuildTask { pieces: std::mem::take(&mut self.pieces), offsets: offsets.to_vec(), flags: flags.to_vec() })
    }
}

/// The matching state of one stream.
#[napi]
pub struct Stream {
    stream: Option<CoreStream>,
}

#[napi]
impl Stream {
    #[napi(constructor, catch_unwind)]
    pub fn new(sets: Vec<ClassInstance<SetHandle>>, parser: f64, max_gap_bytes: f64) -> Result<Self> {
        let (parser, max_gap_bytes) = (whole(parser, "parser")?, whole(max_gap_bytes, "maxGapBytes")?);
        let sets = sets.iter().map(|set| set.get().cloned()).collect::<Result<Vec<_>>>()?;
        let stream = CoreStream::new(sets, parser, u64::from(max_gap_bytes), chosen_simd()?).ok_or_else(|| refused("no such parser state"))?;
        Ok(Self { stream: Some(stream) })
    }

    /// Scans the next bytes; writes as many rows as fit and the head; returns how many rows there are.
    #[napi(catch_unwind)]
    pub fn scan(&mut self, chunk: &[u8], rows: Uint32ArraySlice, head: Uint32ArraySlice) -> Result<u32> {
        if chunk.len() > MAX_CHUNK_BYTES {
            return Err(refused("a chunk of more than 16 MiB"));
        }
        if overlap(range(chunk), range(&rows)) || overlap(range(chunk), range(&head)) {
            return Err(refused("the chunk shares memory with rows or head"));
        }
        self.call(rows, head, |stream| stream.scan(chunk))
    }

    #[napi(catch_unwind)]
    pub fn idle(&mut self, rows: Uint32ArraySlice, head: Uint32ArraySlice) -> Result<u32> {
        self.call(rows, head, CoreStream::idle)
    }

    #[napi(catch_unwind)]
    pub fn end(&mut self, rows: Uint32ArraySlice, head: Uint32ArraySlice) -> Result<u32> {
        self.call(rows, head, CoreStream::idle)
    }

    /// Writes the rows of the last call again, into an array that is large enough now. Returns how many rows there are.
    #[napi(catch_unwind)]
    pub fn take(&mut self, mut rows: Uint32ArraySlice) -> Result<u32> {
        let stream = self.stream.as_ref().ok_or_else(|| refused(RELEASED))?;
        // SAFETY: JavaScript does not run during the call, so nothing else reads or writes the array.
        stream.write_rows(unsafe { rows.as_mut() });
        Ok(stream.rows() as u32)
    }

    #[napi(catch_unwind)]
    pub fn release(&mut self) {
        self.stream = None;
    }

    fn call(&mut self, mut rows: Uint32ArraySlice, mut head: Uint32ArraySlice, run: impl FnOnce(&mut CoreStream) -> usize) -> Result<u32> {
        if head.len() < HEAD_SIZE {
            return Err(refused("the array for the head is too small"));
        }
        if overlap(range(&rows), range(&head)) {
            return Err(refused("rows and head share memory"));
        }
        // Taken out during the call: after a panic it is gone, and the next call fails instead of going on with half a state.
        let mut stream = self.stream.take().ok_or_else(|| refused(RELEASED))?;
        let count = run(&mut stream);
        let answer = stream.head();
        // SAFETY: JavaScript does not run during the call, and the arrays were found to be distinct, so both accesses are exclusive.
        let (rows, head) = unsafe { (rows.as_mut(), head.as_mut()) };
        stream.write_rows(rows);
        let back = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        head[..HEAD_SIZE].copy_from_slice(&[back(answer.hold), back(answer.pending), answer.parser, back(answer.lines)]);
        self.stream = Some(stream);
        Ok(count as u32)
    }
}

/// Addresses of a slice.
fn range<T>(slice: &[T]) -> std::ops::Range<usize> {
    let start = slice.as_ptr() as usize;
    start..start + size_of_val(slice)
}

fn overlap(a: std::ops::Range<usize>, b: std::ops::Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Keeps this process out of core dumps and debuggers. False where the system does not allow it.
#[napi]
pub fn harden_process() -> bool {
    #[cfg(target_os = "linux")]
    {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls take plain numbers and a pointer to a live struct; they change only limits of this process.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && libc::setrlimit(libc::RLIMIT_CORE, &raw const none) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Makes a pipe as large as any process may (1 MiB): fewer and larger reads. What is no pipe stays as it is. False where nothing was changed.
#[napi]
pub fn grow_pipe(descriptor: i32) -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the call takes plain numbers; a descriptor that is none, or no pipe, is an error and changes nothing.
        unsafe { libc::fcntl(descriptor, libc::F_SETPIPE_SZ, PIPE_BYTES) != -1 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        _ = descriptor;
        false
    }
}

/// Gives memory that was freed back to the system, where the allocator keeps it. False where nothing was given back.
#[napi]
pub fn trim_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: takes a number; frees only what no one owns.
        unsafe { libc::malloc_trim(0) == 1 }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

/// Name of the scan loop in use. Throws if `LOGVEIL_SIMD` names none of this machine.
#[napi(catch_unwind)]
pub fn simd() -> Result<&'static str> {
    chosen_simd().map(Simd::name)
}

#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
