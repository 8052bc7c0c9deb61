//! Giving a row something to say.

use moshi_nn::Backend;

use crate::text_rule::Fed;
use crate::{Lm, LmError, LmState, Result, Speech};

impl<B: Backend> Lm<B> {
    /// Gives a row something to say: from its next step on, which is best its first, the rule decides about its text.
    /// `None` takes it away. A reset takes it away too.
    ///
    /// # Errors
    /// A row that the state does not have; [`LmError::Codes`] and [`LmError::Token`] for a prefix that does not fit.
    pub fn set_speech(&self, state: &mut LmState<B>, row: usize, speech: Option<Speech>) -> Result<()> {
        if let Some(speech) = &speech {
            let (streams, steps) = (self.config.dep_q, speech.rule.config().prefix_frames);
            if speech.prefix.len() != streams * steps {
                return Err(LmError::Codes { streams, steps, found: speech.prefix.len() });
            }
            for (i, &code) in speech.prefix.iter().enumerate() {
                self.check_token(1 + i / steps, code)?;
            }
        }
        let rows = state.rows();
        *state.speeches.rows.get_mut(row).ok_or(LmError::Row { row, rows })? = speech;
        Ok(())
    }

    /// Makes a row write the first `codebooks` of its codebooks only; the others are nothing from its next step on.
    ///
    /// # Errors
    /// A row that the state does not have; [`LmError::Codebooks`] for none or more than the model writes.
    pub fn set_codebooks(&self, state: &mut LmState<B>, row: usize, codebooks: usize) -> Result<()> {
        let (most, rows) = (self.config.dep_q, state.rows());
        if codebooks == 0 || codebooks > most {
            return Err(LmError::Codebooks { found: codebooks, most });
        }
        *state.speeches.codebooks.get_mut(row).ok_or(LmError::Row { row, rows })? = codebooks;
        Ok(())
    }
}

impl<B: Backend> LmState<B> {
    /// What a row says; `None` where nobody decides about its text.
    pub fn speech(&self, row: usize) -> Option<&Speech> {
        self.speeches.get(row)
    }

    /// What a row says, for words that come while it speaks.
    pub fn speech_mut(&mut self, row: usize) -> Option<&mut Speech> {
        self.speeches.rows.get_mut(row)?.as_mut()
    }

    /// What the rule of a row fed in the last step, and the word that began; `None` where none decided.
    pub fn fed(&self, row: usize) -> Option<&Fed> {
        self.speeches.fed.get(row)?.as_ref()
    }

    /// The text token that the last step sampled for a row whose text the host decides about, before it did: what the
    /// model asked for.
    pub fn asked(&self, row: usize) -> Option<i32> {
        self.speeches.asked.get(row).copied().filter(|_| self.fed(row).is_some())
    }
}
