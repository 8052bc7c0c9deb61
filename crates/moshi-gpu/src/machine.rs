//! What the executor needs of a machine: memory, launches, and recordings of launches.

/// A failure of the machine: what was tried, and what the machine said.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {said}")]
pub struct MachineError {
    /// What was tried.
    pub what: &'static str,
    /// What the machine said.
    pub said: String,
}

/// Result of a machine's work.
pub type Result<T> = std::result::Result<T, MachineError>;

/// An argument of a kernel. Memory is held as long as the launch is kept.
#[derive(Debug, Clone)]
pub enum Arg<T> {
    /// The address of a piece of memory.
    Memory(T),
    /// A null pointer.
    Null,
    /// A whole number of 32 bits.
    Int(i32),
    /// A single.
    Float(f32),
}

/// A kernel with its arguments and geometry. Made by the executor alone, which has checked the sizes.
#[derive(Debug, Clone)]
pub struct Launch<T> {
    pub(crate) kernel: &'static str,
    /// Blocks in each direction.
    pub(crate) grid: [u32; 3],
    /// Threads of a block.
    pub(crate) threads: u32,
    /// Bytes of shared memory beside what the kernel declares.
    pub(crate) shared: u32,
    pub(crate) args: Vec<Arg<T>>,
}

/// A machine that runs kernels by name. Its clones are the same machine.
pub trait Machine: Clone + Send + Sync + 'static {
    /// A counted handle of a piece of memory.
    type Memory: Clone + Send + Sync + 'static;

    /// Short name, `gpu-host` or `cuda`.
    fn name(&self) -> &'static str;
    /// So many bytes, all zero.
    fn alloc(&self, bytes: usize) -> Result<Self::Memory>;
    /// Copies `src` to byte `at` of `dst`.
    fn upload(&self, src: &[u8], dst: &Self::Memory, at: usize) -> Result<()>;
    /// Copies from byte `at` of `src`.
    fn download(&self, src: &Self::Memory, at: usize, dst: &mut [u8]) -> Result<()>;
    /// Runs launches one behind the other.
    fn run(&self, launches: &[Launch<Self::Memory>]) -> Result<()>;
}

impl<T> Launch<T> {
    /// Name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// Blocks in each direction, and threads of a block.
    pub fn geometry(&self) -> ([u32; 3], u32) {
        (self.grid, self.threads)
    }

    /// Bytes of shared memory beside what the kernel declares.
    pub fn shared(&self) -> u32 {
        self.shared
    }

    /// The arguments, in the kernel's order.
    pub fn args(&self) -> &[Arg<T>] {
        &self.args
    }
}
