//! The Node addon: `logveil-core` behind Node-API. Checks every argument, converts, catches panics; native/README.md is the contract.
//! Errors start with a code and never hold bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use logveil_core::{NeedleSet, ROW_SIZE, SecretBuf, Stream as CoreStream};
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// Longest chunk of one call, in bytes.
const MAX_CHUNK_BYTES: usize = 16 << 20;
/// Numbers in a head: hold, pending, parser.
const HEAD_SIZE: usize = 3;

fn refused(what: impl std::fmt::Display) -> Error {
    Error::new(Status::InvalidArg, format!("LV_NATIVE_ARGUMENT: {what}"))
}

/// Automata that other threads may open, by number.
static SHARED: Mutex<Option<(u32, HashMap<u32, Arc<NeedleSet>>)>> = Mutex::new(None);

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
        let mut table = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (next, sets) = table.get_or_insert_with(|| (1, HashMap::new()));
        let id = *next;
        *next += 1;
        sets.insert(id, set);
        self.shared = Some(id);
        Ok(id)
    }

    #[napi(factory, catch_unwind)]
    pub fn from_shared(id: u32) -> Result<Self> {
        let table = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let set = table.as_ref().and_then(|(_, sets)| sets.get(&id)).ok_or_else(|| refused("no set is shared under this number"))?;
        Ok(Self::new(set.clone()))
    }

    #[napi(catch_unwind)]
    pub fn release(&mut self) {
        self.set = None;
        if let Some(id) = self.shared.take()
            && let Some((_, sets)) = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_mut()
        {
            sets.remove(&id);
        }
    }
}

impl Drop for SetHandle {
    fn drop(&mut self) {
        self.release();
    }
}

/// Needles on their way to another thread.
pub struct BuildTask {
    bytes: SecretBuf<u8>,
    offsets: Vec<u32>,
    flags: Vec<u8>,
}

impl BuildTask {
    fn new(bytes: &[u8], offsets: &[u32], flags: &[u8]) -> Self {
        Self { bytes: SecretBuf::copy_of(bytes), offsets: offsets.to_vec(), flags: flags.to_vec() }
    }

    fn run(&self) -> Result<Arc<NeedleSet>> {
        NeedleSet::build(&self.bytes, &self.offsets, &self.flags).map(Arc::new).map_err(refused)
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

/// Builds an automaton on this thread. The arguments are copied.
#[napi(catch_unwind)]
pub fn build(bytes: &[u8], offsets: &[u32], flags: &[u8]) -> Result<SetHandle> {
    BuildTask::new(bytes, offsets, flags).run().map(SetHandle::new)
}

/// Builds an automaton on the thread pool. The arguments are copied before the call returns.
#[napi(catch_unwind)]
pub fn build_async(bytes: &[u8], offsets: &[u32], flags: &[u8]) -> AsyncTask<BuildTask> {
    AsyncTask::new(BuildTask::new(bytes, offsets, flags))
}

/// The matching state of one stream.
#[napi]
pub struct Stream {
    stream: Option<CoreStream>,
}

#[napi]
impl Stream {
    #[napi(constructor, catch_unwind)]
    pub fn new(sets: Vec<ClassInstance<SetHandle>>, parser: u32, max_gap_bytes: u32) -> Result<Self> {
        let sets = sets.iter().map(|set| set.get().cloned()).collect::<Result<Vec<_>>>()?;
        let stream = CoreStream::new(sets, parser, u64::from(max_gap_bytes)).ok_or_else(|| refused("no such parser state"))?;
        Ok(Self { stream: Some(stream) })
    }

    /// Scans the next bytes; writes as many rows as fit and the head; returns how many rows there are.
    #[napi(catch_unwind)]
    pub fn scan(&mut self, chunk: &[u8], rows: Uint32ArraySlice, head: Uint32ArraySlice) -> Result<u32> {
        if chunk.len() > MAX_CHUNK_BYTES {
            return Err(refused("a chunk of more than 16 MiB"));
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

    /// Writes the rows of the last call again, into an array that is large enough now.
    #[napi(catch_unwind)]
    pub fn take(&mut self, mut rows: Uint32ArraySlice) -> Result<()> {
        self.stream.as_ref().ok_or_else(|| refused("the stream has been released"))?.write_rows(exclusive(&mut rows));
        Ok(())
    }

    #[napi]
    pub fn release(&mut self) {
        self.stream = None;
    }

    fn call(&mut self, mut rows: Uint32ArraySlice, mut head: Uint32ArraySlice, run: impl FnOnce(&mut CoreStream) -> usize) -> Result<u32> {
        let (rows, head) = (exclusive(&mut rows), exclusive(&mut head));
        if head.len() < HEAD_SIZE || rows.len() < ROW_SIZE {
            return Err(refused("the arrays for rows and head are too small"));
        }
        let stream = self.stream.as_mut().ok_or_else(|| refused("the stream has been released"))?;
        let count = run(stream);
        stream.write_rows(rows);
        let answer = stream.head();
        head[..HEAD_SIZE].copy_from_slice(&[answer.hold as u32, answer.pending as u32, answer.parser]);
        Ok(count as u32)
    }
}

/// The numbers of an array that JavaScript handed over for the duration of a call.
fn exclusive<'a>(array: &'a mut Uint32ArraySlice) -> &'a mut [u32] {
    // SAFETY: JavaScript does not run during the call, and the arrays of one call are distinct: src/native/matcher.ts, the only caller, owns them.
    unsafe { array.as_mut() }
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

#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
