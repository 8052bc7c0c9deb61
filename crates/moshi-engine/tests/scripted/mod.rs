//! A model whose every step can be read off its answer: it says back who it is, what it heard, and how often it was asked.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use moshi_engine::{
    EngineError, FrameInput, FrameModel, HeardCodes, Output, RowStep, SessionEvent, SessionId, SessionParams,
    SessionSpec,
};

/// What a frame of nothing but the caller's end is heard as.
pub(crate) const SILENCE: f32 = -1.0;
/// A frame that its row cannot bear.
pub(crate) const POISON: f32 = -13.0;

/// A seed for a session with so many frames of prompt, and so many to say after its end.
pub(crate) fn seed(prompt: u64, tail: u64) -> u64 {
    prompt + 100 * tail
}

pub(crate) fn params(prompt: u64, tail: u64) -> SessionParams {
    SessionParams { seed: seed(prompt, tail), ..SessionParams::default() }
}

/// What the model was asked for.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) open: AtomicUsize,
    pub(crate) opened: AtomicUsize,
    pub(crate) steps: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
struct Row {
    open: bool,
    seed: u64,
    prompt: usize,
    tail: usize,
    steps: u64,
}

#[derive(Debug)]
pub(crate) struct Scripted {
    rows: Vec<Row>,
    counts: Arc<Counts>,
}

impl Scripted {
    pub(crate) fn new(rows: usize) -> Self {
        Self { rows: vec![Row::default(); rows], counts: Arc::default() }
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

impl FrameModel for Scripted {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn heard_codes(&self) -> Option<HeardCodes> {
        Some(HeardCodes { streams: 2, last: 1_000 })
    }

    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        let seed = spec.sampling.seed;
        if seed == u64::MAX {
            return Err(EngineError::Model("no memory".to_owned()));
        }
        let was_open = std::mem::replace(
            &mut self.rows[row],
            Row { open: true, seed, prompt: (seed % 100) as usize, tail: (seed / 100) as usize, steps: 0 },
        );
        self.counts.open.fetch_add(usize::from(!was_open.open), Ordering::Relaxed);
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn close(&mut self, row: usize) {
        assert!(self.rows[row].open, "row {row} is closed twice");
        self.rows[row] = Row::default();
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn priming(&self, row: usize) -> usize {
        self.rows[row].prompt
    }

    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        self.counts.steps.fetch_add(1, Ordering::Relaxed);
        assert!(steps.is_sorted_by_key(|step| step.row), "ascending");
        for step in steps {
            let row = &mut self.rows[step.row];
            assert!(row.open, "a row that is closed is stepped");
            row.steps += 1;
            step.output.text = format!("{}:{};", row.seed, row.steps);
            step.output.audio = true;
            step.pcm_out[0] = match step.input {
                FrameInput::Pcm(pcm) => {
                    assert_eq!(row.prompt, 0, "the caller is heard before the prompt has run");
                    step.output.error = (pcm[0] == POISON).then(|| "poison".to_owned());
                    pcm[0]
                }
                FrameInput::Codes(codes) => {
                    step.output.codes = codes.to_vec();
                    step.output.audio = false;
                    0.0
                }
                FrameInput::Prompt => {
                    row.prompt -= 1;
                    0.0
                }
                FrameInput::Nothing => {
                    row.tail = row.tail.saturating_sub(1);
                    step.output.ended = row.tail == 0;
                    SILENCE
                }
            };
        }
        Ok(())
    }

    fn copy_row_from(&mut self, src: &dyn FrameModel, src_row: usize, row: usize) -> Result<(), EngineError> {
        let src: &dyn Any = src;
        let src = src.downcast_ref::<Self>().ok_or_else(|| EngineError::other_model("script"))?;
        self.rows[row] = src.rows[src_row].clone();
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        self.rows[row] = self.rows[src_row].clone();
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The first sample of each frame that a session heard.
#[allow(dead_code, reason = "not every test listens")]
pub(crate) fn heard(out: &[Output], id: SessionId) -> Vec<f32> {
    let audio = |event: &SessionEvent| if let SessionEvent::Audio { pcm, .. } = event { Some(pcm[0]) } else { None };
    out.iter().filter(|o| o.session == id).filter_map(|o| audio(&o.event)).collect()
}
