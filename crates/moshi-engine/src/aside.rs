//! What a session is given beside what it hears: words to say, cells that are forced, vectors to add.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::script::{Entry, Script, Steering, When, Words};
use crate::{EngineError, Forced, SessionSpec};

/// Most words and pauses that wait in a session, about five hours of speech.
const MOST_ENTRIES: usize = 50_000;
/// Most steps ahead for which cells or vectors wait in a session: eleven minutes.
const MOST_STEPS: usize = 8_192;

/// Most text tokens that a session watches for.
const MOST_WATCHED: usize = 1_024;

/// What goes to a row with its next step beside what it hears.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aside {
    /// Words and pauses, to be said after those that the row was given before.
    pub entries: Vec<Entry>,
    /// When a dialogue says them.
    pub when: When,
    /// Whether no more words will come.
    pub ended: bool,
    /// What the frame that this step begins must say: text, then a code for each stream that is written. Streams that are
    /// left out are left to the model.
    pub forced: Vec<Forced>,
    /// Added to the temporal input of this step; as wide as the model, or empty.
    pub added: Vec<f32>,
    /// Text tokens to tell from this step on, where that changes.
    pub watched: Option<Vec<i32>>,
}

/// Nothing beside what a row hears.
pub static NO_ASIDE: Aside =
    Aside { entries: Vec::new(), when: When::Now, ended: false, forced: Vec::new(), added: Vec::new(), watched: None };

/// What waits to go to a row.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    script: Option<Box<dyn Script>>,
    entries: Vec<Entry>,
    when: When,
    /// Whether the end of the words is still to be told.
    ended: bool,
    forced: VecDeque<Vec<Forced>>,
    added: VecDeque<Vec<f32>>,
    watched: Option<Vec<i32>>,
}

impl Clone for Asides {
    fn clone(&self) -> Self {
        Self {
            script: self.script.as_ref().map(|script| script.copy()),
            entries: self.entries.clone(),
            when: self.when,
            ended: self.ended,
            forced: self.forced.clone(),
            added: self.added.clone(),
            watched: self.watched.clone(),
        }
    }
}

impl Asides {
    /// Of a session that was given nothing yet.
    pub(crate) fn new(steering: Option<&Arc<dyn Steering>>, spec: &SessionSpec) -> Self {
        Self { script: steering.map(|steering| steering.script(spec)), ..Self::default() }
    }

    /// Takes text. All of it or, when something of it cannot be said, nothing.
    pub(crate) fn say(&mut self, words: &Words<'_>, reads_aloud: bool) -> Result<(), EngineError> {
        self.write(|script, entries| {
            script.push(words.text, words.speaker, entries)?;
            if reads_aloud { Ok(()) } else { script.finish(entries) }
        })?;
        self.when = words.when;
        Ok(())
    }

    /// Says that no more text comes.
    pub(crate) fn end(&mut self) -> Result<(), EngineError> {
        self.write(|script, entries| script.finish(entries))?;
        self.ended = true;
        Ok(())
    }

    /// Goes on with the script, or leaves it as it is where that fails. What came before and can never be completed is
    /// dropped then: it would be at fault in whatever follows.
    fn write(
        &mut self,
        more: impl FnOnce(&mut dyn Script, &mut Vec<Entry>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let before = self.script.as_mut().ok_or_else(unsteered)?;
        let (mut script, mut entries) = (before.copy(), Vec::new());
        if let Err(error) = more(&mut *script, &mut entries) {
            if before.copy().finish(&mut entries).is_err() {
                before.forget();
            }
            return Err(error);
        }
        self.take(entries, script)
    }

    fn take(&mut self, entries: Vec<Entry>, script: Box<dyn Script>) -> Result<(), EngineError> {
        let waiting = self.entries.len() + entries.len();
        if waiting > MOST_ENTRIES {
            return Err(EngineError::Input(format!(
                "{waiting} words and pauses to say; at most {MOST_ENTRIES} may wait in one session, about five hours of \
                 speech: give it the rest when it has said some of them"
            )));
        }
        self.entries.extend(entries);
        self.script = Some(script);
        Ok(())
    }

    /// Takes what the frames of further steps must say.
    pub(crate) fn force(&mut self, forced: &[Forced], steering: Option<&Arc<dyn Steering>>) -> Result<(), EngineError> {
        let cells = steering.ok_or_else(unsteered)?.check_forced(forced)?;
        let frames = forced.chunks_exact(cells.max(1));
        room(self.forced.len() + frames.len(), "forced frames")?;
        self.forced.extend(frames.map(<[Forced]>::to_vec));
        Ok(())
    }

    /// Takes what is added to the inputs of further steps.
    pub(crate) fn add(&mut self, added: &[f32], steering: Option<&Arc<dyn Steering>>) -> Result<(), EngineError> {
        let steering = steering.ok_or_else(unsteered)?;
        steering.check_added(added)?;
        let vectors = added.chunks_exact(steering.width().max(1));
        room(self.added.len() + vectors.len(), "vectors")?;
        self.added.extend(vectors.map(<[f32]>::to_vec));
        Ok(())
    }

    /// Takes which tokens are told.
    pub(crate) fn watch(&mut self, tokens: &[i32]) -> Result<(), EngineError> {
        if tokens.len() > MOST_WATCHED {
            let found = tokens.len();
            return Err(EngineError::Input(format!("{found} tokens to watch for; at most {MOST_WATCHED}")));
        }
        self.watched = Some(tokens.to_vec());
        Ok(())
    }

    /// Whether there is something about words that the row was not told yet.
    pub(crate) fn has_words(&self) -> bool {
        !self.entries.is_empty() || self.ended
    }

    /// What goes with the next step.
    pub(crate) fn next(&mut self) -> Aside {
        Aside {
            entries: std::mem::take(&mut self.entries),
            when: self.when,
            ended: std::mem::take(&mut self.ended),
            forced: self.forced.pop_front().unwrap_or_default(),
            added: self.added.pop_front().unwrap_or_default(),
            watched: self.watched.take(),
        }
    }
}

/// Whether so many may wait.
fn room(waiting: usize, what: &str) -> Result<(), EngineError> {
    if waiting <= MOST_STEPS {
        return Ok(());
    }
    Err(EngineError::Input(format!(
        "{waiting} {what} would wait for their steps; at most {MOST_STEPS} may wait, eleven minutes: give the rest later"
    )))
}

fn unsteered() -> EngineError {
    EngineError::Input("this model takes no words: it says what it hears".to_owned())
}
