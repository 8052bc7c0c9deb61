//! Drawing tokens on a machine: the definition of `moshi_tensor::sample`, to the bit.

use moshi_tensor::sample::{RowSampling, SilentTokens, Stream, TEXT};

use crate::machine::{Arg, Launch, Machine, MachineError, Result};

/// Words of a row: rules of text and audio, seed, penalty memory (`kernels/sample.cu` names them).
const ROW_WORDS: usize = 288;

/// A row's words with an empty penalty memory.
///
/// # Errors
/// When a parameter is out of range.
fn row_words(params: &RowSampling, silent: SilentTokens) -> Result<Vec<i32>> {
    params.check().map_err(|error| MachineError { what: "sampling", said: error.to_string() })?;
    let mut words = vec![0i32; ROW_WORDS];
    for (first, stream) in [(0, TEXT), (8, TEXT + 1)] {
        let rule = params.rule(stream);
        let (mantissa, exponent) = rule.scale.map_or((0, 0), |scale| (scale.mantissa, scale.exponent));
        words[first] = i32::from(rule.scale.is_some());
        words[first + 1] = mantissa as i32;
        words[first + 2] = exponent;
        words[first + 3] = i32::try_from(rule.top_k).unwrap_or(i32::MAX);
        words[first + 4] = rule.fraction as i32;
        words[first + 5] = rule.pad.to_bits() as i32;
        words[first + 6] = rule.penalty.to_bits() as i32;
    }
    words[16] = params.seed as i32;
    words[17] = (params.seed >> 32) as i32;
    words[18] = params.repetition_context as i32;
    words[19] = silent.padding as i32;
    words[20] = silent.end_padding as i32;
    Ok(words)
}

/// The sampler of one row on a machine.
pub struct OneRow<M: Machine> {
    machine: M,
    state: M::Memory,
}

impl<M: Machine> OneRow<M> {
    /// A row with these parameters that has said nothing yet.
    ///
    /// # Errors
    /// When a parameter is out of range, or the memory is not there.
    pub fn new(machine: M, params: &RowSampling, silent: SilentTokens) -> Result<Self> {
        let words = row_words(params, silent)?;
        let state = machine.alloc(4 * ROW_WORDS)?;
        machine.upload(bytemuck::cast_slice(&words), &state, 0)?;
        Ok(Self { machine, state })
    }

    /// Draws a token from `logits [v]` and remembers it where the stream is text; the second number is the row's status
    /// word, 0 for no fault.
    ///
    /// # Errors
    /// When the machine fails.
    pub fn draw(&mut self, logits: &[f32], position: u64, stream: Stream) -> Result<(i32, i32)> {
        let put = |bytes: &[u8]| -> Result<Arg<M::Memory>> {
            let memory = self.machine.alloc(bytes.len())?;
            self.machine.upload(bytes, &memory, 0)?;
            Ok(Arg::Memory(memory))
        };
        let results = self.machine.alloc(16)?; // token, then status in a memory of its own
        let status = self.machine.alloc(16)?;
        let args = vec![
            put(&0i32.to_ne_bytes())?, // row 0 runs
            put(&position.to_ne_bytes())?,
            put(bytemuck::cast_slice(logits))?,
            Arg::Int(logits.len() as i32),
            Arg::Int(stream as i32),
            Arg::Memory(self.state.clone()),
            put(&moshi_nn::backend::FREE.to_ne_bytes())?,
            Arg::Memory(results.clone()),
            Arg::Memory(status.clone()),
            Arg::Int(0),
            Arg::Int(1),
        ];
        self.machine.run(&[Launch { kernel: "sample", grid: [1; 3], threads: 128, shared: 0, args }])?;
        let word = |memory: &M::Memory| -> Result<i32> {
            let mut bytes = [0; 4];
            self.machine.download(memory, 0, &mut bytes)?;
            Ok(i32::from_ne_bytes(bytes))
        };
        Ok((word(&results)?, word(&status)?))
    }
}
