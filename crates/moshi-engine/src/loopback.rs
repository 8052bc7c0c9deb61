//! A model that says back what it hears, two frames later: for trying microphones, wires and servers without weights.

use crate::{EngineError, FRAME_SAMPLES, FrameInput, FrameModel, RowStep, SessionSpec};

/// Echoes each row's audio after one frame and prints a dot every `FRAMES_PER_DOT` frames.
#[derive(Debug)]
pub struct Loopback {
    rows: Vec<LoopbackRow>,
}

#[derive(Debug, Default, Clone)]
struct LoopbackRow {
    previous: Vec<f32>,
    steps: u64,
}

const FRAMES_PER_DOT: u64 = 10;

impl Loopback {
    /// A loopback for `rows` sessions.
    pub fn new(rows: usize) -> Self {
        Self { rows: (0..rows).map(|_| LoopbackRow::default()).collect() }
    }
}

impl FrameModel for Loopback {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        spec.sampling.validate()?;
        self.rows[row] = LoopbackRow { previous: vec![0.0; FRAME_SAMPLES], steps: 0 };
        Ok(())
    }

    fn close(&mut self, row: usize) {
        self.rows[row] = LoopbackRow::default();
    }

    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        for step in steps {
            let state = &mut self.rows[step.row];
            step.output.audio = state.steps > 0;
            step.pcm_out.copy_from_slice(&state.previous);
            match step.input {
                FrameInput::Pcm(pcm) => state.previous.copy_from_slice(pcm),
                FrameInput::Codes(_) | FrameInput::Prompt | FrameInput::Nothing => state.previous.fill(0.0),
            }
            state.steps += 1;
            step.output.text.clear();
            if state.steps.is_multiple_of(FRAMES_PER_DOT) {
                step.output.text.push_str(" dot");
            }
        }
        Ok(())
    }

    fn copy_row_from(&mut self, src: &dyn FrameModel, src_row: usize, row: usize) -> Result<(), EngineError> {
        let src: &dyn std::any::Any = src;
        let src = src.downcast_ref::<Self>().ok_or_else(|| EngineError::other_model("loopback"))?;
        self.rows[row] = src.rows[src_row].clone();
        Ok(())
    }

    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.rows[row] = self.rows[src_row].clone();
        Ok(())
    }
}
