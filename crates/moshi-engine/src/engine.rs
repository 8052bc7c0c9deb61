//! The frame loop: rows, backlog, admission and lag policy, without clock or threads.
//!
//! **When a row steps.** A row is ready when a whole frame of its audio has arrived. A tick steps every ready row once, in
//! one batch, and waits for nobody: rows whose audio has not arrived stay as they are. Whoever drives the engine ticks
//! whenever [`Engine::ready`] says so; frames that arrive during a step join the next one, so that batches grow by
//! themselves when steps are slow.
//!
//! **Lag policy.** Audio that waits is latency. When a row's backlog exceeds [`EngineConfig::backlog_limit`] frames, its
//! oldest frames are dropped until [`EngineConfig::backlog_target`] remain, and the drop is counted and reported as
//! [`SessionEvent::Dropped`]. So a reply span is never later than the limit plus one step, however slow the machine and
//! however large the burst.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{EngineError, FRAME_SAMPLES, FrameModel, RowStep, SessionParams};

/// Limits of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Most frames a row may have waiting before the oldest are dropped; at least 1.
    pub backlog_limit: usize,
    /// How many waiting frames are kept when the limit is exceeded; at most `backlog_limit`.
    pub backlog_target: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { backlog_limit: 8, backlog_target: 2 }
    }
}

/// Names one session for its whole life; never used twice by one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What a caller sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input<'a> {
    /// Any number of mono samples at 24 kHz.
    Audio(&'a [f32]),
    /// Nothing more will come: a partial frame is filled with silence, and the session closes once all frames have run.
    End,
}

/// What the engine has for a caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Whose it is.
    pub session: SessionId,
    /// What it is.
    pub event: SessionEvent,
}

/// One event of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// A frame of the agent's voice, [`FRAME_SAMPLES`] samples.
    Audio {
        /// The samples.
        pcm: Vec<f32>,
        /// How long the caller's frame that this step heard waited from its arrival to the end of the step.
        lag: Duration,
    },
    /// Whole UTF-8 text that the agent says.
    Text(String),
    /// The backlog grew past the limit: this many of the caller's frames were dropped unheard.
    Dropped {
        /// Number of frames.
        frames: usize,
    },
    /// The session has ended after [`Input::End`].
    Ended,
    /// The session was closed because its row failed.
    Failed(String),
}

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TickReport {
    /// Rows that were stepped.
    pub rows: usize,
    /// Sessions that were closed by this tick.
    pub closed: usize,
}

/// Counters since the engine was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineMetrics {
    /// Sessions admitted.
    pub admitted: u64,
    /// Sessions refused because every row was taken.
    pub refused: u64,
    /// Frames stepped, over all sessions.
    pub frames: u64,
    /// Batched steps run.
    pub ticks: u64,
    /// Frames dropped by the lag policy.
    pub dropped_frames: u64,
    /// Sessions closed by a failure.
    pub failed: u64,
    /// Sessions open now.
    pub open: usize,
    /// Frames waiting now, over all sessions.
    pub backlog: usize,
}

struct Session {
    id: SessionId,
    /// Whole frames that wait, with the time each became whole.
    frames: VecDeque<(Duration, Box<[f32]>)>,
    /// The frame that is being filled.
    partial: Vec<f32>,
    /// Frames dropped since the last report.
    dropped: usize,
    ending: bool,
}

/// The engine: a model's rows and the sessions that occupy them.
///
/// ```
/// use std::time::Duration;
/// use moshi_engine::{Engine, EngineConfig, Input, Loopback, SessionParams};
/// let mut engine = Engine::new(Box::new(Loopback::new(8)), EngineConfig::default());
/// let id = engine.admit(&SessionParams::default())?;
/// engine.push(Duration::ZERO, id, Input::Audio(&[0.0; 1920]))?;
/// let mut out = Vec::new();
/// let report = engine.tick(Duration::from_millis(3), &mut out)?;
/// assert_eq!(report.rows, 1);
/// # Ok::<(), moshi_engine::EngineError>(())
/// ```
pub struct Engine {
    model: Box<dyn FrameModel>,
    config: EngineConfig,
    rows: Vec<Option<Session>>,
    next_id: u64,
    metrics: EngineMetrics,
    /// Output of a step, `rows` frames; reused by every tick.
    pcm_out: Vec<f32>,
}

impl Engine {
    /// An engine over all rows of `model`.
    pub fn new(model: Box<dyn FrameModel>, config: EngineConfig) -> Self {
        let count = model.rows();
        let backlog_limit = config.backlog_limit.max(1);
        let config = EngineConfig { backlog_limit, backlog_target: config.backlog_target.clamp(1, backlog_limit) };
        Self {
            model,
            config,
            rows: (0..count).map(|_| None).collect(),
            next_id: 0,
            metrics: EngineMetrics::default(),
            pcm_out: vec![0.0; count * FRAME_SAMPLES],
        }
    }

    /// Most sessions at once.
    pub fn capacity(&self) -> usize {
        self.rows.len()
    }

    /// Opens a session in a free row.
    ///
    /// # Errors
    /// [`EngineError::Full`] when every row is taken; [`EngineError::Parameter`] when a value is out of range.
    pub fn admit(&mut self, params: &SessionParams) -> Result<SessionId, EngineError> {
        params.validate()?;
        let Some(row) = self.rows.iter().position(Option::is_none) else {
            self.metrics.refused += 1;
            return Err(EngineError::Full { rows: self.rows.len() });
        };
        self.model.open(row, params)?;
        let id = SessionId(self.next_id);
        self.next_id += 1;
        self.rows[row] = Some(Session {
            id,
            frames: VecDeque::with_capacity(self.config.backlog_limit + 1),
            partial: Vec::with_capacity(FRAME_SAMPLES),
            dropped: 0,
            ending: false,
        });
        self.metrics.admitted += 1;
        Ok(id)
    }

    /// Takes what a caller sent at time `now`.
    ///
    /// # Errors
    /// [`EngineError::NoSession`] when the session is closed or has ended; [`EngineError::Parameter`] when a sample is not finite (nothing
    /// of that input is taken).
    pub fn push(&mut self, now: Duration, id: SessionId, input: Input<'_>) -> Result<(), EngineError> {
        let config = self.config;
        let row = self.row_of(id)?;
        let Some(session) = self.rows[row].as_mut().filter(|s| !s.ending) else {
            return Err(EngineError::NoSession(id.0));
        };
        match input {
            Input::Audio(pcm) => {
                check_finite(pcm)?;
                session.append(now, pcm);
                session.trim(&config);
            }
            Input::End => {
                if !session.partial.is_empty() {
                    let missing = FRAME_SAMPLES - session.partial.len();
                    session.append(now, &vec![0.0; missing]);
                }
                session.ending = true;
            }
        }
        Ok(())
    }

    /// Whether a tick would do anything: a frame is waiting, or a session is about to end.
    pub fn ready(&self) -> bool {
        self.rows.iter().flatten().any(|s| !s.frames.is_empty() || s.ending)
    }

    /// Steps every row that has a whole frame, once, and collects what came of it. Lag is computed as if the step took
    /// no time; a driver that has a clock uses [`Engine::tick_timed`].
    ///
    /// # Errors
    /// When the model failed as a whole; every session must then be considered lost.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Output>) -> Result<TickReport, EngineError> {
        self.tick_timed(out, || now)
    }

    /// As [`Engine::tick`], with `end` telling the time after the step, from which each reply's lag is computed.
    ///
    /// # Errors
    /// As [`Engine::tick`].
    pub fn tick_timed(
        &mut self,
        out: &mut Vec<Output>,
        end: impl FnOnce() -> Duration,
    ) -> Result<TickReport, EngineError> {
        self.report_drops(out);
        let inputs: Vec<(usize, Duration, Box<[f32]>)> = self
            .rows
            .iter_mut()
            .enumerate()
            .filter_map(|(row, s)| s.as_mut()?.frames.pop_front().map(|(at, pcm)| (row, at, pcm)))
            .collect();
        let mut report = TickReport { rows: inputs.len(), closed: 0 };
        if !inputs.is_empty() {
            self.step(&inputs, out, end, &mut report)?;
        }
        self.close_ended(out, &mut report);
        Ok(report)
    }

    /// Closes a session at once, dropping what waits. Unknown sessions are ignored: closing twice does no harm.
    pub fn close(&mut self, id: SessionId) {
        if let Ok(row) = self.row_of(id) {
            self.release(row);
        }
    }

    /// Frames that wait for this session.
    pub fn backlog(&self, id: SessionId) -> usize {
        self.rows.iter().flatten().find(|s| s.id == id).map_or(0, |s| s.frames.len())
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> EngineMetrics {
        EngineMetrics {
            open: self.rows.iter().flatten().count(),
            backlog: self.rows.iter().flatten().map(|s| s.frames.len()).sum(),
            ..self.metrics
        }
    }

    fn step(
        &mut self,
        inputs: &[(usize, Duration, Box<[f32]>)],
        out: &mut Vec<Output>,
        end: impl FnOnce() -> Duration,
        report: &mut TickReport,
    ) -> Result<(), EngineError> {
        let mut steps: Vec<RowStep<'_>> = inputs
            .iter()
            .zip(self.pcm_out.chunks_exact_mut(FRAME_SAMPLES))
            .map(|((row, _, pcm_in), pcm_out)| RowStep { row: *row, pcm_in, pcm_out, output: Default::default() })
            .collect();
        self.model.step(&mut steps)?;
        let end = end();
        self.metrics.ticks += 1;
        self.metrics.frames += inputs.len() as u64;
        let mut failed = Vec::new();
        for (step, (row, at, _)) in steps.iter_mut().zip(inputs) {
            let Some(session) = self.rows[*row].as_ref().map(|s| s.id) else { continue };
            if let Some(why) = step.output.error.take() {
                out.push(Output { session, event: SessionEvent::Failed(why) });
                failed.push(*row);
                continue;
            }
            if !step.output.text.is_empty() {
                let text = std::mem::take(&mut step.output.text);
                out.push(Output { session, event: SessionEvent::Text(text) });
            }
            if step.output.audio {
                let event = SessionEvent::Audio { pcm: step.pcm_out.to_vec(), lag: end.saturating_sub(*at) };
                out.push(Output { session, event });
            }
        }
        report.closed += failed.len();
        self.metrics.failed += failed.len() as u64;
        for row in failed {
            self.release(row);
        }
        Ok(())
    }

    fn report_drops(&mut self, out: &mut Vec<Output>) {
        for session in self.rows.iter_mut().flatten() {
            let frames = std::mem::take(&mut session.dropped);
            if frames > 0 {
                self.metrics.dropped_frames += frames as u64;
                out.push(Output { session: session.id, event: SessionEvent::Dropped { frames } });
            }
        }
    }

    fn close_ended(&mut self, out: &mut Vec<Output>, report: &mut TickReport) {
        for row in 0..self.rows.len() {
            let Some(session) = &self.rows[row] else { continue };
            if session.ending && session.frames.is_empty() {
                out.push(Output { session: session.id, event: SessionEvent::Ended });
                report.closed += 1;
                self.release(row);
            }
        }
    }

    fn release(&mut self, row: usize) {
        self.rows[row] = None;
        self.model.close(row);
    }

    fn row_of(&self, id: SessionId) -> Result<usize, EngineError> {
        let found = self.rows.iter().position(|s| s.as_ref().is_some_and(|s| s.id == id));
        found.ok_or(EngineError::NoSession(id.0))
    }
}

impl Session {
    /// The lag policy: beyond the limit, only the newest frames are kept.
    fn trim(&mut self, config: &EngineConfig) {
        if self.frames.len() > config.backlog_limit {
            let frames = self.frames.len() - config.backlog_target;
            self.frames.drain(..frames);
            self.dropped += frames;
        }
    }

    /// Cuts samples into whole frames; each carries the time at which it became whole.
    fn append(&mut self, now: Duration, mut pcm: &[f32]) {
        while !pcm.is_empty() {
            let take = pcm.len().min(FRAME_SAMPLES - self.partial.len());
            self.partial.extend_from_slice(&pcm[..take]);
            pcm = &pcm[take..];
            if self.partial.len() == FRAME_SAMPLES {
                let frame = std::mem::replace(&mut self.partial, Vec::with_capacity(FRAME_SAMPLES));
                self.frames.push_back((now, frame.into_boxed_slice()));
            }
        }
    }
}

/// Refuses samples that are no numbers.
///
/// # Errors
/// [`EngineError::Parameter`] naming the first of them.
pub fn check_finite(pcm: &[f32]) -> Result<(), EngineError> {
    match pcm.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(i) => Err(EngineError::Parameter {
            name: "pcm",
            found: format!("{} at sample {i}", pcm[i]),
            expected: "finite samples between -1 and 1".to_owned(),
        }),
    }
}
