//! The prompt of a role-play, before the call: whose voice the model has and who it is, as forced frames.
//!
//! One step a frame: the voice, 6 frames of silence, the role's text (one token a frame), 6 frames of silence. All the
//! while the user's streams carry a tone ([`SINE`]) that the model knows as "not yet", the agent's carry the voice and then
//! [`SILENCE`], and the text is the role's token or padding. Everything is forced, so that a prompt may run step by step or
//! in one piece. The rules are those of `step_system_prompts` in NVIDIA/personaplex (`moshi/models/lm.py`).
//!
//! Step s of the session hears the user's frame s and is forced to the agent's frame s + 1 ([`Prompt::step`]): the agent's
//! frame 0 is never read. The last step forces nothing new, but the delayed streams of the last frame are still forced by
//! the step before it. What the steps of a prompt emit is not for the user; the call's first frame is heard at the step
//! after the last.
//!
//! A voice is the codes of its sound, or a published `.pt` file: the temporal inputs that the codes once gave
//! ("embeddings", one for each column but the last) and the table of streams afterwards ([`ReplayedVoice`]).

use moshi_checkpoint::config::LmConfig;

use crate::delay::Cell;
use crate::spelling::PADDING;

/// Codebooks of one speaker.
pub const CODEBOOKS: usize = 8;
/// Streams: text, the agent's codebooks, the user's.
pub const STREAMS: usize = 1 + 2 * CODEBOOKS;
/// Frames of silence after the voice, and again after the role.
pub const SILENT_FRAMES: usize = 6;
/// The codes of silence.
pub const SILENCE: [i32; CODEBOOKS] = [948, 243, 1178, 546, 1736, 1030, 1978, 2008];
/// The codes of a 440 Hz tone at half of full scale, the user's sound while the prompt runs.
pub const SINE: [i32; CODEBOOKS] = [430, 1268, 381, 1611, 1095, 1495, 56, 472];

/// What parts a role's text from everything else.
const TAG: &str = "<system>";

/// A prompt that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// Another number of streams than a role-play has.
    #[error(
        "the model has {found} streams; a voice and role prompt needs {STREAMS}: text, 8 of the agent, 8 of the user"
    )]
    Streams {
        /// Streams of the model.
        found: usize,
    },
    /// The voice is no voice of this model.
    #[error("the voice's table has {found} values, expected {expected}: {STREAMS} streams of {columns} columns")]
    Table {
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
        /// Columns expected: the longest delay and 3.
        columns: usize,
    },
    /// A number that is no code or token.
    #[error("{what}: {found} is no code or token of this model; expected 0 to {last}")]
    Token {
        /// Where.
        what: &'static str,
        /// The number.
        found: i64,
        /// The largest.
        last: usize,
    },
    /// A voice without a frame.
    #[error("the voice is empty: it needs one frame (80 ms) at least")]
    EmptyVoice,
}

/// One frame of a prompt: what each stream is forced to. Pending where nobody knows and nobody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptFrame {
    /// The text token.
    pub text: Cell,
    /// The agent's codes.
    pub agent: [Cell; CODEBOOKS],
    /// The user's codes.
    pub user: [Cell; CODEBOOKS],
}

impl PromptFrame {
    /// The agent says `agent` and writes `text`, the user's streams carry the tone.
    fn said(text: i32, agent: [i32; CODEBOOKS]) -> Self {
        Self { text: Cell::Token(text), agent: agent.map(Cell::from), user: SINE.map(Cell::Token) }
    }

    /// A frame that is not read because its step replays an input.
    fn replayed() -> Self {
        Self { text: Cell::Token(PADDING), agent: [Cell::Nothing; CODEBOOKS], user: SINE.map(Cell::Token) }
    }

    fn cell_mut(&mut self, stream: usize) -> &mut Cell {
        match stream.checked_sub(1) {
            None => &mut self.text,
            Some(q) if q < CODEBOOKS => &mut self.agent[q],
            Some(q) => &mut self.user[q - CODEBOOKS],
        }
    }
}

/// Whose voice the agent has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// The model's own choice: the prompt begins with the silence after a voice.
    Absent,
    /// The codes of its sound, frame by frame, from the codec as a stream.
    Codes(Vec<[i32; CODEBOOKS]>),
    /// The temporal inputs that its codes once gave.
    Replayed(ReplayedVoice),
}

/// A voice of which only the temporal inputs are known. The inputs themselves (`[inputs, dim]`) stay with their owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedVoice {
    inputs: usize,
    frames: Vec<PromptFrame>,
}

impl ReplayedVoice {
    /// A voice of `inputs + 1` frames, for a model with these streams, from the table after it: `table [17, max delay + 3]`
    /// with column p at index p mod (max delay + 3). Of the table the last column, which is read next, and those after it
    /// count.
    ///
    /// # Errors
    /// [`PromptError`] when the table is another model's or holds what is no token.
    pub fn new(inputs: usize, table: &[i64], config: &LmConfig) -> Result<Self, PromptError> {
        check_streams(config)?;
        if inputs == 0 {
            return Err(PromptError::EmptyVoice);
        }
        let columns = config.max_delay() + 3;
        let expected = STREAMS * columns;
        if table.len() != expected {
            return Err(PromptError::Table { found: table.len(), expected, columns });
        }
        let mut frames = vec![PromptFrame::replayed(); inputs + 1];
        for (stream, (row, &delay)) in table.chunks_exact(columns).zip(&config.delays).enumerate() {
            // Column p holds frame p - delay; column `inputs` is the first that is read.
            for column in inputs..=inputs + delay {
                let value = row[column % columns];
                let Some(frame) = column.checked_sub(delay).and_then(|frame| frames.get_mut(frame)) else { continue };
                *frame.cell_mut(stream) = known(stream, value, config)?;
            }
        }
        Ok(Self { inputs, frames })
    }

    /// How many steps replay an input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// What one step of a prompt is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptStep {
    /// Which of the voice's inputs takes the place of the temporal input; `None` where the streams are read.
    pub replayed: Option<usize>,
    /// The user's codes of this frame.
    pub heard: [i32; CODEBOOKS],
    /// The agent's next frame, text first, as [`crate::delay::DelayLine::force`] takes it.
    pub forced: [Cell; 1 + CODEBOOKS],
}

/// The frames of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    frames: Vec<PromptFrame>,
    replayed: usize,
}

impl Prompt {
    /// A voice and a role, as the tokens of [`role_text`]; an empty role is left out.
    ///
    /// # Errors
    /// [`PromptError`] when the model has other streams, or the voice or role holds what is no code or token of it.
    pub fn new(voice: &Voice, role: &[i32], config: &LmConfig) -> Result<Self, PromptError> {
        check_streams(config)?;
        let (mut frames, replayed) = match voice {
            Voice::Absent => (Vec::new(), 0),
            Voice::Codes(codes) => (voice_frames(codes, config)?, 0),
            Voice::Replayed(voice) => (voice.frames.clone(), voice.inputs),
        };
        let silence = PromptFrame::said(PADDING, SILENCE);
        frames.extend([silence; SILENT_FRAMES]);
        for &token in role {
            known(0, i64::from(token), config)?;
            frames.push(PromptFrame::said(token, SILENCE));
        }
        frames.extend([silence; SILENT_FRAMES]);
        Ok(Self { frames, replayed })
    }

    /// All frames; one step each.
    pub fn frames(&self) -> &[PromptFrame] {
        &self.frames
    }

    /// How many steps the prompt has.
    pub fn steps(&self) -> usize {
        self.frames.len()
    }

    /// What step `step` is given; `None` after the last.
    pub fn step(&self, step: usize) -> Option<PromptStep> {
        let frame = self.frames.get(step)?;
        let mut forced = [Cell::Pending; 1 + CODEBOOKS];
        if let Some(next) = self.frames.get(step + 1) {
            forced[0] = next.text;
            forced[1..].copy_from_slice(&next.agent);
        }
        let heard = frame.user.map(|cell| match cell {
            Cell::Token(code) => code,
            Cell::Nothing | Cell::Dropped | Cell::Pending => -1,
        });
        Some(PromptStep { replayed: Some(step).filter(|&step| step < self.replayed), heard, forced })
    }
}

/// The text that is spelled for a role: between two tags unless it has them; `None` for an empty role.
pub fn role_text(role: &str) -> Option<String> {
    let role = role.trim();
    if role.is_empty() {
        return None;
    }
    let inside = role.strip_prefix(TAG).and_then(|rest| rest.strip_suffix(TAG));
    Some(if inside.is_some() { role.to_owned() } else { format!("{TAG} {role} {TAG}") })
}

fn voice_frames(codes: &[[i32; CODEBOOKS]], config: &LmConfig) -> Result<Vec<PromptFrame>, PromptError> {
    if codes.is_empty() {
        return Err(PromptError::EmptyVoice);
    }
    for &code in codes.iter().flatten() {
        known(1, i64::from(code), config)?;
    }
    Ok(codes.iter().map(|&codes| PromptFrame::said(PADDING, codes)).collect())
}

fn check_streams(config: &LmConfig) -> Result<(), PromptError> {
    let fit = config.delays.len() == STREAMS && config.delays.first() == Some(&0);
    if fit { Ok(()) } else { Err(PromptError::Streams { found: config.delays.len() }) }
}

/// A value of a stream, initial tokens included: the table of a short voice still holds them.
fn known(stream: usize, value: i64, config: &LmConfig) -> Result<Cell, PromptError> {
    let (what, last) =
        if stream == 0 { ("text of the prompt", config.text_card) } else { ("codes of the prompt", config.card) };
    match usize::try_from(value) {
        Ok(token) if token <= last => Ok(Cell::Token(value as i32)),
        _ => Err(PromptError::Token { what, found: value, last }),
    }
}
