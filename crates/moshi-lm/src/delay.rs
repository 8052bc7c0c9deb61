//! The delay line: which token of which frame a step reads, writes and hands out.
//!
//! Stream i runs `delays[i]` steps late: column p of the delayed table holds its value for frame p - delays[i]. At step s
//! the model reads column s (initial tokens up to and including a stream's delay), writes what it samples to column s + 1,
//! and the frame whose last token this was goes out. What is heard at step s lies at column s + delay; what is forced for
//! the frame that starts at column s + 1 lies at column s + 1 + delay. All of that fits a ring of `max_delay + 2` columns.
//!
//! ```
//! use std::sync::Arc;
//! use moshi_lm::delay::{DelayConfig, DelayLine};
//! // Text and one agent stream that is a step late; nobody is heard.
//! let config = DelayConfig { delays: vec![0, 1], initial: vec![100, 50], written: 2 };
//! let mut line = DelayLine::new(Arc::new(config));
//! let (mut read, mut frame) = ([0; 2], [0; 2]);
//! line.read(&mut read)?;
//! assert_eq!(read, [100, 50]);
//! line.write(&[7, 1])?;
//! assert!(!line.emit(&mut frame)?);
//! line.advance();
//! line.write(&[8, 2])?;
//! assert!(line.emit(&mut frame)?);
//! assert_eq!(frame, [7, 2]);
//! # Ok::<(), moshi_lm::delay::DelayError>(())
//! ```

use std::sync::Arc;

use moshi_nn::backend::{FREE, NOTHING};

/// One value of the delayed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cell {
    /// Not known yet. In a forced frame: left to the model.
    #[default]
    Pending,
    /// Known to be nothing: a zero vector for the model, -1 for everyone else. In a forced frame nothing is drawn, and the
    /// codebooks behind it are conditioned on nothing.
    Nothing,
    /// In a forced frame: drawn, and nothing afterwards. The codebooks behind it are conditioned on what was drawn, and
    /// nobody else hears of it. (The streams of a synthesis before its audio begins.)
    Dropped,
    /// A token or code.
    Token(i32),
}

impl From<i32> for Cell {
    fn from(token: i32) -> Self {
        if token < 0 { Self::Nothing } else { Self::Token(token) }
    }
}

/// What a delay line was asked for that it does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DelayError {
    /// A slice has one value per stream of its kind.
    #[error("{what}: expected {expected} values, one a stream, found {found}")]
    Streams {
        /// Which slice.
        what: &'static str,
        /// Number of streams.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// A value is read before it was given or sampled.
    #[error(
        "stream {stream} has no value for column {column} at step {step}: hear and write every stream at every step"
    )]
    Pending {
        /// Which stream.
        stream: usize,
        /// Which column of the delayed table.
        column: u64,
        /// The step that asked.
        step: u64,
    },
}

/// Streams and their delays: text, then the agent's codebooks, then those that are heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayConfig {
    /// Steps that each stream is late.
    pub delays: Vec<usize>,
    /// The token that each stream reads before its first frame; one per stream.
    pub initial: Vec<i32>,
    /// How many streams the model writes (text and the agent's codebooks); all others are heard.
    pub written: usize,
}

impl DelayConfig {
    /// The longest delay.
    pub fn max_delay(&self) -> usize {
        self.delays.iter().copied().max().unwrap_or(0)
    }

    /// Number of streams that are heard.
    pub fn heard(&self) -> usize {
        self.delays.len() - self.written.min(self.delays.len())
    }
}

/// The delay line of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLine {
    config: Arc<DelayConfig>,
    max_delay: u64,
    columns: u64,
    /// `[stream][column % columns]`.
    cells: Vec<Cell>,
    step: u64,
}

impl DelayLine {
    /// A line before its first step.
    pub fn new(config: Arc<DelayConfig>) -> Self {
        let max_delay = config.max_delay();
        let cells = vec![Cell::Pending; config.delays.len() * (max_delay + 2)];
        Self { max_delay: max_delay as u64, columns: max_delay as u64 + 2, config, cells, step: 0 }
    }

    /// As new.
    pub fn reset(&mut self) {
        self.cells.fill(Cell::Pending);
        self.step = 0;
    }

    /// Overwrites this line with another of the same configuration, without allocating.
    ///
    /// # Errors
    /// [`DelayError::Streams`] when the two have different streams.
    pub fn copy_from(&mut self, other: &Self) -> Result<(), DelayError> {
        if self.config != other.config {
            let (expected, found) = (self.config.delays.len(), other.config.delays.len());
            return Err(DelayError::Streams { what: "streams of a copied delay line", expected, found });
        }
        self.cells.copy_from_slice(&other.cells);
        self.step = other.step;
        Ok(())
    }

    /// The streams.
    pub fn config(&self) -> &DelayConfig {
        &self.config
    }

    /// Steps completed since the reset.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Whether [`Self::hear`] and [`Self::force`] would take these; an empty forced frame forces nothing.
    ///
    /// # Errors
    /// [`DelayError::Streams`].
    pub fn check(&self, heard: &[i32], forced: &[Cell]) -> Result<(), DelayError> {
        streams("heard codes", self.config.heard(), heard.len())?;
        if forced.is_empty() { Ok(()) } else { streams("forced frame", self.config.written, forced.len()) }
    }

    /// Gives the codes of the frame just heard, one per heard stream; -1 for nothing. Once per step, before [`Self::read`].
    ///
    /// # Errors
    /// [`DelayError::Streams`].
    pub fn hear(&mut self, codes: &[i32]) -> Result<(), DelayError> {
        streams("heard codes", self.config.heard(), codes.len())?;
        for (i, &code) in codes.iter().enumerate() {
            let stream = self.config.written + i;
            let column = self.step + self.delay(stream);
            *self.cell_mut(stream, column) = Cell::from(code);
        }
        Ok(())
    }

    /// Decides what the frame that starts at this step's column s + 1 will say, one cell per written stream;
    /// [`Cell::Pending`] leaves a stream to the model. Once per step, before [`Self::forced`].
    ///
    /// # Errors
    /// [`DelayError::Streams`].
    pub fn force(&mut self, frame: &[Cell]) -> Result<(), DelayError> {
        streams("forced frame", self.config.written, frame.len())?;
        for (stream, &cell) in frame.iter().enumerate() {
            if cell != Cell::Pending {
                let column = self.step + 1 + self.delay(stream);
                *self.cell_mut(stream, column) = cell;
            }
        }
        Ok(())
    }

    /// Decides what this step's column s + 1 will hold, whatever frames that belongs to, one cell per written stream;
    /// [`Cell::Pending`] leaves a stream as it is. Before [`Self::forced`].
    ///
    /// # Errors
    /// [`DelayError::Streams`].
    pub fn force_column(&mut self, cells: &[Cell]) -> Result<(), DelayError> {
        streams("forced column", self.config.written, cells.len())?;
        for (stream, &cell) in cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::Pending) {
            let column = self.step + 1;
            *self.cell_mut(stream, column) = cell;
        }
        Ok(())
    }

    /// The tokens that this step reads, all streams; -1 for nothing.
    ///
    /// # Errors
    /// [`DelayError::Streams`]; [`DelayError::Pending`] when a stream was not heard.
    pub fn read(&self, out: &mut [i32]) -> Result<(), DelayError> {
        streams("tokens to read", self.config.delays.len(), out.len())?;
        for (stream, (token, &initial)) in out.iter_mut().zip(&self.config.initial).enumerate() {
            let started = self.step > self.delay(stream);
            *token = if started { self.known(stream, self.step)? } else { initial };
        }
        Ok(())
    }

    /// What this step must write because it was forced, one per written stream: a token, [`NOTHING`], or [`FREE`] where
    /// the model draws. What is forced is also what the following codebooks of the same frame are conditioned on.
    ///
    /// # Errors
    /// [`DelayError::Streams`].
    pub fn forced(&self, out: &mut [i32]) -> Result<(), DelayError> {
        streams("forced tokens", self.config.written, out.len())?;
        for (stream, token) in out.iter_mut().enumerate() {
            *token = match self.cell(stream, self.step + 1) {
                Cell::Token(token) => token,
                Cell::Nothing => NOTHING,
                Cell::Pending | Cell::Dropped => FREE,
            };
        }
        Ok(())
    }

    /// Whether what this step writes for a stream is ever read or handed out: not before the stream's first frame.
    pub fn is_asked_for(&self, stream: usize) -> bool {
        self.step + 1 > self.delay(stream)
    }

    /// Writes what the model sampled, one token per written stream; what was forced stays.
    ///
    /// # Errors
    /// [`DelayError::Streams`].
    pub fn write(&mut self, sampled: &[i32]) -> Result<(), DelayError> {
        streams("sampled tokens", self.config.written, sampled.len())?;
        for (stream, &token) in sampled.iter().enumerate() {
            let column = self.step + 1;
            let cell = self.cell_mut(stream, column);
            match *cell {
                Cell::Pending => *cell = Cell::from(token),
                Cell::Dropped => *cell = Cell::Nothing,
                Cell::Nothing | Cell::Token(_) => {}
            }
        }
        Ok(())
    }

    /// After [`Self::write`]: the frame that this step completed, one token per written stream; -1 for nothing.
    /// False, and `out` as it was, in the first `max_delay` steps.
    ///
    /// # Errors
    /// [`DelayError::Streams`]; [`DelayError::Pending`] before [`Self::write`].
    pub fn emit(&self, out: &mut [i32]) -> Result<bool, DelayError> {
        streams("emitted frame", self.config.written, out.len())?;
        let Some(frame) = (self.step + 1).checked_sub(self.max_delay).filter(|&frame| frame > 0) else {
            return Ok(false);
        };
        for (stream, token) in out.iter_mut().enumerate() {
            *token = self.known(stream, frame + self.delay(stream))?;
        }
        Ok(true)
    }

    /// Ends the step and frees the columns that no later step asks for.
    pub fn advance(&mut self) {
        for stream in 0..self.config.delays.len() {
            let emitted = (self.step + 1 + self.delay(stream)).checked_sub(self.max_delay);
            if let Some(column) = emitted.map(|column| column.min(self.step)) {
                *self.cell_mut(stream, column) = Cell::Pending;
            }
        }
        self.step += 1;
    }

    fn delay(&self, stream: usize) -> u64 {
        self.config.delays[stream] as u64
    }

    fn index(&self, stream: usize, column: u64) -> usize {
        stream * self.columns as usize + (column % self.columns) as usize
    }

    fn cell(&self, stream: usize, column: u64) -> Cell {
        self.cells[self.index(stream, column)]
    }

    fn cell_mut(&mut self, stream: usize, column: u64) -> &mut Cell {
        let index = self.index(stream, column);
        &mut self.cells[index]
    }

    fn known(&self, stream: usize, column: u64) -> Result<i32, DelayError> {
        match self.cell(stream, column) {
            Cell::Token(token) => Ok(token),
            Cell::Nothing => Ok(-1),
            Cell::Pending | Cell::Dropped => Err(DelayError::Pending { stream, column, step: self.step }),
        }
    }
}

fn streams(what: &'static str, expected: usize, found: usize) -> Result<(), DelayError> {
    if expected == found { Ok(()) } else { Err(DelayError::Streams { what, expected, found }) }
}
