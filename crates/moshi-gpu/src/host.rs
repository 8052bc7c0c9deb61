//! The machine `host`: the kernels compiled for the processor, where a thread of a block is a fiber. For tests.
#![allow(unsafe_code)] // the kernels are C++

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use crate::machine::{Arg, Launch, Machine, MachineError, Result};

unsafe extern "C" {
    fn moshi_gpu_host_launch(
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        shared: u32,
        order: c_int,
        args: *mut *mut c_void,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
}

/// Held by whoever follows the pointer of a memory: one lock for all machines, so that memory may be used with any.
static LOCK: Mutex<()> = Mutex::new(());

/// Kernels on the processor, one launch at a time.
#[derive(Debug, Clone, Default)]
pub struct Host {
    order: i32,
}

/// A piece of memory of [`Host`]; kernels write it, so it is read and written under `LOCK` alone.
#[derive(Debug, Clone)]
pub struct HostMemory(Arc<Block>);

#[derive(Debug)]
struct Block {
    start: *mut u128,
    words: usize,
}

// SAFETY: the pointer is owned, and followed under `LOCK` alone.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` of a slice of so many words, and dropped once.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.start, self.words)) });
    }
}

impl Block {
    fn check(&self, what: &'static str, at: usize, bytes: usize) -> Result<()> {
        let (end, size) = (at.saturating_add(bytes), 16 * self.words);
        if end <= size {
            return Ok(());
        }
        Err(MachineError { what, said: format!("byte {end} of a memory of {size}") })
    }
}

impl Host {
    /// The threads of a warp run in another order: 0 forwards, 1 backwards, others mixed. The results are the same.
    pub fn in_order(order: i32) -> Self {
        Self { order }
    }

    fn launch(&self, launch: &Launch<HostMemory>) -> Result<()> {
        let word = |arg: &Arg<HostMemory>| match arg {
            Arg::Memory(memory) => memory.0.start as u64,
            Arg::Null => 0,
            Arg::Int(x) => u64::from(*x as u32),
            Arg::Float(x) => u64::from(x.to_bits()),
        };
        let mut values: Vec<u64> = launch.args.iter().map(word).collect();
        let mut args: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        let failed = |said: String| MachineError { what: launch.kernel, said };
        let name = CString::new(launch.kernel).map_err(|error| failed(error.to_string()))?;
        let mut said = [0 as c_char; 256];
        let (grid, room) = (launch.grid.as_ptr(), said.len());
        // SAFETY: `args` points to one word for each parameter of the kernel, as the executor made the launch; the memory
        // they name is held by the launch and long enough for its geometry, which the executor has checked.
        let wrong = unsafe {
            let (args, said) = (args.as_mut_ptr(), said.as_mut_ptr());
            moshi_gpu_host_launch(name.as_ptr(), grid, launch.threads, launch.shared, self.order, args, said, room)
        };
        if wrong == 0 {
            return Ok(());
        }
        // SAFETY: the launch has written a text that ends with a zero, within the room given.
        Err(failed(unsafe { CStr::from_ptr(said.as_ptr()) }.to_string_lossy().into_owned()))
    }
}

impl Machine for Host {
    type Memory = HostMemory;

    fn name(&self) -> &'static str {
        "gpu-host"
    }

    fn alloc(&self, bytes: usize) -> Result<HostMemory> {
        let words = bytes.div_ceil(16).max(1);
        let start = Box::into_raw(vec![0u128; words].into_boxed_slice()).cast();
        Ok(HostMemory(Arc::new(Block { start, words })))
    }

    fn upload(&self, src: &[u8], dst: &HostMemory, at: usize) -> Result<()> {
        dst.0.check("upload", at, src.len())?;
        let _held = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: within the memory, as was just checked, and nothing else runs under the lock.
        unsafe { std::ptr::copy_nonoverlapping(src.as_ptr(), dst.0.start.cast::<u8>().add(at), src.len()) };
        Ok(())
    }

    fn download(&self, src: &HostMemory, at: usize, dst: &mut [u8]) -> Result<()> {
        src.0.check("download", at, dst.len())?;
        let _held = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: within the memory, as was just checked, and nothing else runs under the lock.
        unsafe { std::ptr::copy_nonoverlapping(src.0.start.cast::<u8>().add(at), dst.as_mut_ptr(), dst.len()) };
        Ok(())
    }

    fn run(&self, launches: &[Launch<HostMemory>]) -> Result<()> {
        let _held = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        launches.iter().try_for_each(|launch| self.launch(launch))
    }
}
