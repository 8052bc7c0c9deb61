//! Who is told how a download goes on.

/// Told how a download goes on. `()` does not listen.
pub trait Progress {
    /// A download of `size` bytes begins; `done` of them are there from an earlier try.
    fn start(&mut self, file: &str, done: u64, size: u64);
    /// `done` bytes of the file are there now. It can be less than before, when the hub would not resume.
    fn update(&mut self, done: u64);
    /// The file is complete and checked.
    fn finish(&mut self);
    /// Whether the work shall end: asked between pieces of a file, and many times a second while it waits.
    fn is_stopped(&self) -> bool {
        false
    }
}

impl Progress for () {
    fn start(&mut self, _file: &str, _done: u64, _size: u64) {}
    fn update(&mut self, _done: u64) {}
    fn finish(&mut self) {}
}
