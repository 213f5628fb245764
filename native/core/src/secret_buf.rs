//! Memory for secret bytes: locked against swapping and left out of core dumps where the system allows it, zeroed when dropped.

use std::ops::{Deref, DerefMut};

/// A fixed-length buffer of plain values (integers; all-zero bytes are a valid value).
pub struct SecretBuf<T: Copy + Default> {
    start: *mut T,
    len: usize,
    locked: bool,
}

// SAFETY: the buffer owns its memory exclusively, like a `Box<[T]>`.
unsafe impl<T: Copy + Default + Send> Send for SecretBuf<T> {}
// SAFETY: shared access gives only `&[T]`, like a `Box<[T]>`.
unsafe impl<T: Copy + Default + Sync> Sync for SecretBuf<T> {}

impl<T: Copy + Default> SecretBuf<T> {
    /// A buffer of `len` zeros. Panics if the system has no memory left.
    pub fn zeroed(len: usize) -> Self {
        let (start, locked) = allocate(len * size_of::<T>());
        Self { start: start.cast(), len, locked }
    }

    pub fn copy_of(values: &[T]) -> Self {
        let mut buf = Self::zeroed(values.len());
        buf.copy_from_slice(values);
        buf
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// Bytes that are locked into memory.
    pub fn locked_bytes(&self) -> usize {
        if self.locked { self.bytes() } else { 0 }
    }
}

impl<T: Copy + Default> Deref for SecretBuf<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `start` points to `len` initialised values (zeroed by `allocate`) that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T: Copy + Default> DerefMut for SecretBuf<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T: Copy + Default> Drop for SecretBuf<T> {
    fn drop(&mut self) {
        wipe(self);
        release(self.start.cast(), self.bytes());
    }
}

/// Zeroes `values`, in a way that the compiler cannot leave out although nobody reads them again.
fn wipe<T: Copy + Default>(values: &mut [T]) {
    for value in values {
        // SAFETY: `value` is a valid, exclusive reference to a plain value.
        unsafe { std::ptr::write_volatile(value, T::default()) };
    }
}

#[cfg(unix)]
fn allocate(bytes: usize) -> (*mut u8, bool) {
    let bytes = bytes.max(1);
    // SAFETY: an anonymous private mapping at an address of the kernel's choice; the result is checked.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    assert!(start != libc::MAP_FAILED, "out of memory");
    // SAFETY: the range was mapped just now. Failing is allowed: limits on locked memory are often small.
    let locked = unsafe { libc::mlock(start, bytes) } == 0;
    #[cfg(target_os = "linux")]
    // SAFETY: the range was mapped just now; the advice changes only what a core dump holds.
    unsafe {
        libc::madvise(start, bytes, libc::MADV_DONTDUMP);
    }
    (start.cast(), locked)
}

#[cfg(unix)]
fn release(start: *mut u8, bytes: usize) {
    // SAFETY: `start` and `bytes` are those of the mapping made in `allocate`; unmapping unlocks it.
    unsafe {
        libc::munmap(start.cast(), bytes.max(1));
    }
}

#[cfg(not(unix))]
fn allocate(bytes: usize) -> (*mut u8, bool) {
    let layout = std::alloc::Layout::from_size_align(bytes.max(1), 16).expect("size fits");
    // SAFETY: the layout has a size of 1 or more; the result is checked.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!start.is_null(), "out of memory");
    (start, false)
}

#[cfg(not(unix))]
fn release(start: *mut u8, bytes: usize) {
    let layout = std::alloc::Layout::from_size_align(bytes.max(1), 16).expect("size fits");
    // SAFETY: allocated in `allocate` with the same layout.
    unsafe { std::alloc::dealloc(start, layout) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_copied_and_starts_zeroed() {
        let buf = SecretBuf::<u32>::zeroed(1000);
        assert!(buf.iter().all(|&value| value == 0));
        let copy = SecretBuf::copy_of(&[1u8, 2, 3]);
        assert_eq!(&copy[..], &[1, 2, 3]);
        assert_eq!(SecretBuf::<u8>::zeroed(0).len(), 0);
    }

    #[test]
    fn wiping_leaves_no_byte() {
        let mut buf = SecretBuf::copy_of(&[0xa5u8; 5000]);
        wipe(&mut buf);
        assert!(buf.iter().all(|&value| value == 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_mapping_is_left_out_of_core_dumps() {
        let buf = SecretBuf::copy_of(&[0xa5u8; 5000]);
        let address = buf.as_ptr() as usize;
        let text = std::fs::read_to_string("/proc/self/smaps").expect("readable");
        let mut inside = false;
        for line in text.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((Ok(start), Ok(end))) = range.map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))) {
                inside = (start..end).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                assert!(flags.split_whitespace().any(|flag| flag == "dd"), "in core dumps: {flags}");
                return;
            }
        }
        panic!("the mapping is not listed");
    }
}
