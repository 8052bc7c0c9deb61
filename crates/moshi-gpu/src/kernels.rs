//! Kernels as safe functions: sizes are checked here, before a launch is made.

use crate::machine::{Arg, Launch, Machine, MachineError, Result};

/// A weight matrix `[n, k]` of single precision on a machine, and a bias `[n]`.
#[derive(Debug, Clone)]
pub struct Matrix<T> {
    weight: T,
    bias: Option<T>,
    n: usize,
    k: usize,
}

/// Values of single precision on a machine.
#[derive(Debug, Clone)]
pub struct Values<T> {
    memory: T,
    len: usize,
}

/// Active rows on a machine: their numbers, padded with -1 to a power of two.
#[derive(Debug, Clone)]
pub struct RowList<T> {
    memory: T,
    /// How many rows there are, active or not.
    count: usize,
    /// Blocks that a launch has for rows.
    padded: usize,
}

fn room(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected <= found {
        return Ok(());
    }
    Err(MachineError { what, said: format!("expected {expected} values, found {found}") })
}

impl<T> Matrix<T> {
    /// Copies a matrix `[n, k]` to a machine.
    ///
    /// # Errors
    /// When the sizes do not fit, or the memory is not there.
    pub fn new<M: Machine<Memory = T>>(machine: &M, weight: &[f32], bias: Option<&[f32]>, n: usize) -> Result<Self> {
        let k = weight.len() / n.max(1);
        if n == 0 || n * k != weight.len() || bias.is_some_and(|bias| bias.len() != n) {
            let said = format!("{} values do not make {n} rows with their bias", weight.len());
            return Err(MachineError { what: "matrix", said });
        }
        let bias = bias.map(|bias| Ok(Values::new(machine, bias)?.memory)).transpose()?;
        Ok(Self { weight: Values::new(machine, weight)?.memory, bias, n, k })
    }
}

impl<T> Values<T> {
    /// Copies values to a machine.
    ///
    /// # Errors
    /// When the memory is not there.
    pub fn new<M: Machine<Memory = T>>(machine: &M, values: &[f32]) -> Result<Self> {
        let memory = machine.alloc(size_of_val(values))?;
        machine.upload(bytemuck::cast_slice(values), &memory, 0)?;
        Ok(Self { memory, len: values.len() })
    }

    /// Copies all of them back.
    ///
    /// # Errors
    /// When the machine fails.
    pub fn read<M: Machine<Memory = T>>(&self, machine: &M) -> Result<Vec<f32>> {
        let mut values = vec![0.0f32; self.len];
        machine.download(&self.memory, 0, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

impl<T> RowList<T> {
    /// The rows that are active of as many as there are flags.
    ///
    /// # Errors
    /// When the memory is not there.
    pub fn new<M: Machine<Memory = T>>(machine: &M, active: &[bool]) -> Result<Self> {
        let mut list: Vec<i32> = (0..active.len()).filter(|&row| active[row]).map(|row| row as i32).collect();
        let padded = list.len().next_power_of_two();
        list.resize(padded, -1);
        let memory = machine.alloc(4 * padded)?;
        machine.upload(bytemuck::cast_slice(&list), &memory, 0)?;
        Ok(Self { memory, count: active.len(), padded })
    }
}

/// `y[row, step, n] = x[row, step, k] W^T (+ bias)` for the active rows, `t` steps of each.
///
/// # Errors
/// When a buffer is too short, or the machine fails.
pub fn linear<M: Machine>(
    machine: &M,
    rows: &RowList<M::Memory>,
    t: usize,
    x: &Values<M::Memory>,
    w: &Matrix<M::Memory>,
    y: &mut Values<M::Memory>,
) -> Result<()> {
    room("input of a product", rows.count * t * w.k, x.len)?;
    room("output of a product", rows.count * t * w.n, y.len)?;
    let memory = |m: &M::Memory| Arg::Memory(m.clone());
    let args = vec![
        memory(&rows.memory),
        memory(&x.memory),
        memory(&w.weight),
        Arg::Int(0), // single precision
        Arg::Null,
        w.bias.as_ref().map_or(Arg::Null, memory),
        memory(&y.memory),
        Arg::Int(w.n as i32),
        Arg::Int(w.k as i32),
        Arg::Int(t as i32),
    ];
    let grid = [w.n.div_ceil(4) as u32, rows.padded as u32, t as u32];
    machine.run(&[Launch { kernel: "linear", grid, threads: 128, shared: 0, args }])
}

/// Softmax over lines of `c` values of the active rows, `t` lines of each, in place.
///
/// # Errors
/// When the buffer is too short, or the machine fails.
pub fn softmax<M: Machine>(
    machine: &M,
    rows: &RowList<M::Memory>,
    t: usize,
    c: usize,
    x: &mut Values<M::Memory>,
) -> Result<()> {
    room("input of a softmax", rows.count * t * c, x.len)?;
    let args =
        vec![Arg::Memory(rows.memory.clone()), Arg::Memory(x.memory.clone()), Arg::Int(c as i32), Arg::Int(t as i32)];
    let grid = [1, rows.padded as u32, t as u32];
    machine.run(&[Launch { kernel: "softmax", grid, threads: 32, shared: 0, args }])
}
