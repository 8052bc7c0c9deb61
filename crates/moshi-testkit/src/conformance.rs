//! What every streaming layer and model must do, whatever it computes.
//!
//! Implement [`StreamCase`] for a thing under test and call [`stream_conformance!`](crate::stream_conformance): it makes
//! one test per promise of the house (reset equals fresh, any chunking, rows independent, copies independent, memory
//! constant).

use crate::{assert_close, noise};

/// Rows of the batches used here.
const ROWS: usize = 3;
/// Units of time used here: enough to wrap small windows several times.
const UNITS: usize = 48;

/// Something that streams: `t` units of input in, `t` units of output out, for some rows.
pub trait StreamCase {
    /// Its memory.
    type State;

    /// Memory of `rows` rows for chunks of at most [`StreamCase::max_chunk`] units.
    fn init_state(&self, rows: usize) -> Self::State;
    /// Input values of one row per unit of time.
    fn inputs(&self) -> usize;
    /// Output values of one row per unit of time.
    fn outputs(&self) -> usize;
    /// Longest chunk, in units.
    fn max_chunk(&self) -> usize;
    /// Largest relative difference that another chunking may make; 0 where the output is discrete.
    fn chunk_tolerance(&self) -> f32;
    /// Runs the active rows: `input [rows, t, inputs]`, values in -1..1, to `[rows, t, outputs]`.
    fn step(&self, state: &mut Self::State, active: &[bool], t: usize, input: &[f32]) -> Vec<f32>;
    /// Resets one row.
    fn reset_row(&self, state: &mut Self::State, row: usize);
    /// Overwrites one row with one of another state.
    fn copy_row(&self, state: &mut Self::State, row: usize, src: &Self::State, src_row: usize);
}

/// Makes the tests of the conformance suite in a module `$name` for the [`StreamCase`] that `$case` evaluates to.
#[macro_export]
macro_rules! stream_conformance {
    ($name:ident, $case:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn a_reset_row_is_a_fresh_row() {
                $crate::conformance::reset_equals_fresh(&$case);
            }

            #[test]
            fn any_chunking_gives_the_same_output() {
                $crate::conformance::any_chunking(&$case);
            }

            #[test]
            fn a_row_alone_is_the_row_in_a_batch() {
                $crate::conformance::alone_equals_batched(&$case);
            }

            #[test]
            fn inactive_rows_are_untouched() {
                $crate::conformance::inactive_untouched(&$case);
            }

            #[test]
            fn a_copied_row_is_independent() {
                $crate::conformance::copy_is_independent(&$case);
            }

            #[test]
            fn memory_does_not_grow() {
                $crate::conformance::memory_constant(&$case);
            }
        }
    };
}

/// Runs `units` units of one row's input alone, in chunks of `chunk`.
fn alone<C: StreamCase>(case: &C, state: &mut C::State, input: &[f32], chunk: usize) -> Vec<f32> {
    input.chunks(chunk * case.inputs()).flat_map(|x| case.step(state, &[true], x.len() / case.inputs(), x)).collect()
}

/// Runs all rows of a batch one unit at a time and returns each row's output.
fn batched<C: StreamCase>(case: &C, state: &mut C::State, active: &[bool], inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    let (n, m) = (case.inputs(), case.outputs());
    let mut outputs = vec![Vec::new(); inputs.len()];
    for unit in 0..inputs[0].len() / n {
        let x: Vec<f32> = inputs.iter().flat_map(|x| x[unit * n..(unit + 1) * n].iter().copied()).collect();
        let y = case.step(state, active, 1, &x);
        for (row, output) in outputs.iter_mut().enumerate() {
            output.extend_from_slice(&y[row * m..(row + 1) * m]);
        }
    }
    outputs
}

fn input<C: StreamCase>(case: &C, seed: u64) -> Vec<f32> {
    noise::signal(seed, UNITS * case.inputs())
}

#[track_caller]
fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let differs = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differs, None, "{what}: first value with other bits");
}

/// A row that was used and reset gives the bits of a fresh one, and its neighbour notices nothing.
pub fn reset_equals_fresh<C: StreamCase>(case: &C) {
    let (used, x, neighbour) = (input(case, 1), input(case, 2), input(case, 3));
    let fresh = alone(case, &mut case.init_state(1), &x, 1);
    let undisturbed = alone(case, &mut case.init_state(1), &[neighbour.clone(), neighbour.clone()].concat(), 1);

    let mut state = case.init_state(2);
    let before = batched(case, &mut state, &[true, true], &[&used, &neighbour]);
    case.reset_row(&mut state, 0);
    let after = batched(case, &mut state, &[true, true], &[&x, &neighbour]);
    assert_same_bits("reset row", &after[0], &fresh);
    assert_same_bits("its neighbour", &[before[1].clone(), after[1].clone()].concat(), &undisturbed);
}

/// The output does not depend on how the input is cut.
pub fn any_chunking<C: StreamCase>(case: &C) {
    let x = input(case, 4);
    let expected = alone(case, &mut case.init_state(1), &x, 1);
    for chunk in 2..=case.max_chunk() {
        let found = alone(case, &mut case.init_state(1), &x, chunk);
        assert_close(&format!("chunks of {chunk}"), &found, &expected, case.chunk_tolerance());
    }
    let mut state = case.init_state(1);
    let mut found = Vec::new();
    let mut rest = &x[..];
    for i in 0.. {
        if rest.is_empty() {
            break;
        }
        let t = 1 + noise::bits(5, i) as usize % case.max_chunk();
        let (now, later) = rest.split_at((t * case.inputs()).min(rest.len()));
        found.extend(alone(case, &mut state, now, t));
        rest = later;
    }
    assert_close("random chunks", &found, &expected, case.chunk_tolerance());
}

/// A row gives the same bits alone and among others, for any chunk length.
pub fn alone_equals_batched<C: StreamCase>(case: &C) {
    for chunk in [1, case.max_chunk()] {
        let inputs: Vec<Vec<f32>> = (0..ROWS as u64).map(|row| input(case, 10 + row)).collect();
        let mut state = case.init_state(ROWS);
        let (n, m) = (case.inputs(), case.outputs());
        let mut outputs = vec![Vec::new(); ROWS];
        for start in (0..UNITS).step_by(chunk) {
            let t = chunk.min(UNITS - start);
            let x: Vec<f32> = inputs.iter().flat_map(|x| x[start * n..(start + t) * n].iter().copied()).collect();
            let y = case.step(&mut state, &[true; ROWS], t, &x);
            for (row, output) in outputs.iter_mut().enumerate() {
                output.extend_from_slice(&y[row * t * m..(row + 1) * t * m]);
            }
        }
        for (row, (x, found)) in inputs.iter().zip(&outputs).enumerate() {
            let expected = alone(case, &mut case.init_state(1), x, chunk);
            assert_same_bits(&format!("row {row}, chunks of {chunk}"), found, &expected);
        }
    }
}

/// A row that sits out steps goes on as if they had not happened.
pub fn inactive_untouched<C: StreamCase>(case: &C) {
    let (x, other) = (input(case, 20), input(case, 21));
    let half = UNITS / 2 * case.inputs();
    let expected = alone(case, &mut case.init_state(1), &x, 1);
    let mut state = case.init_state(2);
    let mut found = batched(case, &mut state, &[true, true], &[&x[..half], &other[..half]]).swap_remove(0);
    batched(case, &mut state, &[false, true], &[&other, &other]);
    found.extend(batched(case, &mut state, &[true, false], &[&x[half..], &other[half..]]).swap_remove(0));
    assert_same_bits("row that sat out", &found, &expected);
}

/// A copy goes on like its original, and neither notices what the other does.
pub fn copy_is_independent<C: StreamCase>(case: &C) {
    let (x, other) = (input(case, 30), input(case, 31));
    let half = UNITS / 2 * case.inputs();
    let expected = alone(case, &mut case.init_state(1), &x, 1);
    let mut original = case.init_state(1);
    let first = alone(case, &mut original, &x[..half], 1);
    let mut copies = case.init_state(2);
    batched(case, &mut copies, &[true, true], &[&other, &other]);
    case.copy_row(&mut copies, 1, &original, 0);
    alone(case, &mut original, &other, 1);
    let copied = batched(case, &mut copies, &[true, true], &[&other[half..], &x[half..]]).swap_remove(1);
    assert_same_bits("copy", &[first, copied].concat(), &expected);

    let mut original = case.init_state(1);
    let mut found = alone(case, &mut original, &x[..half], 1);
    case.copy_row(&mut copies, 0, &original, 0);
    batched(case, &mut copies, &[true, true], &[&other, &other]);
    found.extend(alone(case, &mut original, &x[half..], 1));
    assert_same_bits("original", &found, &expected);
}

/// A long run does not grow the process. Other tests share the process, so what is allowed is generous against their
/// noise and small against a leak of every step's activations.
pub fn memory_constant<C: StreamCase>(case: &C) {
    let x = input(case, 40);
    let mut state = case.init_state(1);
    alone(case, &mut state, &x, 1);
    let before = resident_bytes();
    for _ in 0..8 {
        alone(case, &mut state, &x, 1);
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "grown by {grown} bytes");
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
