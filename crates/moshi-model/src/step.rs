//! A step of a model's rows: hear, think, speak.

use moshi_engine::{FRAME_SAMPLES, FrameInput, RowStep};
use moshi_lm::delay::Cell;
use moshi_lm::spelling::{NEW_WORD, PADDING};
use moshi_lm::{Lm, RowInput, Speech};
use moshi_nn::Backend;

use crate::error::ModelError;
use crate::moshi::MoshiRows;
use crate::priming::{Priming, cell};
use crate::reading::{Reading, Sound, give};
use crate::row::Row;
use crate::saying::begin;
use crate::translation::{NOTHING, after_end, is_translated};

/// Buffers of a step on the host; hold nothing between steps.
pub(crate) struct Work {
    pub(crate) active: Vec<bool>,
    /// Rows whose step completed a frame.
    pub(crate) whole: Vec<bool>,
    /// Rows whose frame is heard by somebody.
    pub(crate) heard_by: Vec<bool>,
    /// `[rows, FRAME_SAMPLES]`, in and out.
    pub(crate) pcm: Vec<f32>,
    /// `[rows, codebooks]`, from the codec.
    pub(crate) heard: Vec<i32>,
    /// `[rows, user streams]`, for the language model.
    pub(crate) given: Vec<i32>,
    /// `[rows, dep_q]`.
    pub(crate) said: Vec<i32>,
}

impl Work {
    pub(crate) fn new<B: Backend>(rows: usize, codebooks: usize, lm: &Lm<B>) -> Self {
        Self {
            active: vec![false; rows],
            whole: vec![false; rows],
            heard_by: vec![false; rows],
            pcm: vec![0.0; rows * FRAME_SAMPLES],
            heard: vec![0; rows * codebooks],
            given: vec![NOTHING; rows * lm.heard()],
            said: vec![0; rows * lm.config().dep_q],
        }
    }
}

impl<B: Backend> MoshiRows<B> {
    /// Lays out what rows hear: samples for the codec, codes for the language model.
    fn lay_out(&mut self, steps: &mut [RowStep<'_>]) {
        let users = self.model.lm.heard();
        let Work { active, pcm, given, .. } = &mut self.work;
        active.fill(false);
        for step in steps.iter_mut() {
            match step.input {
                FrameInput::Pcm(samples) => {
                    (active[step.row], self.rows[step.row].by_codes) = (true, false);
                    pcm[step.row * FRAME_SAMPLES..][..FRAME_SAMPLES].copy_from_slice(samples);
                }
                FrameInput::Codes(codes) => match self.model.heard_codes().check(codes) {
                    Ok(()) => {
                        self.rows[step.row].by_codes = true;
                        given[step.row * users..][..users].copy_from_slice(codes);
                    }
                    Err(error) => step.output.error = Some(error.to_string()),
                },
                FrameInput::Nothing => {
                    let row = &mut self.rows[step.row];
                    let code = after_end(row.translating.as_mut(), row.listening.is_some() && !row.by_codes);
                    active[step.row] = code.is_none();
                    pcm[step.row * FRAME_SAMPLES..][..FRAME_SAMPLES].fill(0.0);
                    given[step.row * users..][..users].fill(code.unwrap_or(NOTHING));
                }
                FrameInput::Prompt => match self.rows[step.row].priming.as_ref().and_then(Priming::next) {
                    Some((frame, _)) => given[step.row * users..][..users].copy_from_slice(&frame.heard),
                    None => step.output.error = Some("its prompt has run, or it has none".to_owned()),
                },
            }
        }
    }

    /// Hears: samples of the active rows to codes. Rows that are given codes have them.
    fn encode(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        self.lay_out(steps);
        let (codebooks, users) = (self.model.mimi.codebooks(), self.model.lm.heard());
        let Work { active, pcm, heard, given, .. } = &mut self.work;
        if active.contains(&true) {
            self.model.mimi.encode_step(&mut self.encoder, active, 1, pcm, heard)?;
        }
        for step in healthy(steps).filter(|step| active[step.row]) {
            given[step.row * users..][..users].copy_from_slice(&heard[step.row * codebooks..][..users]);
            step.output.error = self.encoder.fault(step.row).map(|fault| format!("cannot hear: {fault}"));
        }
        Ok(())
    }

    /// Gives rows what comes beside what they hear. A row that reads aloud and has too few words for a step takes none.
    fn take_asides(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        let (lm, state) = (&self.model.lm, &mut self.lm);
        for step in healthy(steps) {
            let (row, aside) = (&mut self.rows[step.row], step.aside);
            if row.reading.is_some() {
                let Some(rule) = state.speech_mut(step.row).map(Speech::rule_mut) else { continue };
                give(rule, aside);
                step.output.waits = !rule.ready();
            } else {
                row.saying.give(aside);
                let due = row.saying.due(aside);
                if !due.is_empty() {
                    if state.speech(step.row).is_none() {
                        lm.set_speech(state, step.row, Some(begin(lm.config().text_card)))?;
                    }
                    let rule = state.speech_mut(step.row).map(Speech::rule_mut);
                    rule.into_iter().for_each(|rule| due.iter().for_each(|entry| rule.push(entry.clone())));
                }
            }
            if let Some(watched) = &aside.watched {
                row.watched.clone_from(watched);
            }
            if !step.output.waits && !aside.added.is_empty() {
                lm.add_input(state, step.row, &aside.added)?;
            }
        }
        Ok(())
    }

    /// Thinks: codes of the rows that heard to the frames that became complete.
    fn think(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        self.take_asides(steps)?;
        let (users, given, rows) = (self.model.lm.heard(), &self.work.given, &self.rows);
        // As a rule nothing is forced, and nothing allocated.
        let written = self.model.lm.written();
        let padded = |cells: usize| if cells == 0 { 0 } else { written };
        let cells = |step: &mut RowStep<'_>| {
            let forced = step.aside.forced.iter().map(cell).chain(std::iter::repeat(Cell::Pending));
            forced.take(padded(step.aside.forced.len())).collect::<Vec<_>>()
        };
        let forced: Vec<Cell> = healthy(steps).flat_map(cells).collect();
        let (mut inputs, mut rest) = (Vec::with_capacity(steps.len()), &forced[..]);
        for step in healthy(steps) {
            let (row, heard) = (step.row, &given[step.row * users..][..users]);
            let forced = rest.split_off(..padded(step.aside.forced.len())).unwrap_or(&[]);
            let prompt = if let FrameInput::Prompt = step.input { rows[row].priming.as_ref() } else { None };
            let (frame, prompted) = prompt.and_then(Priming::next).unzip();
            if let Some(input) = frame.and_then(|frame| frame.input.as_deref()) {
                self.model.lm.replay_input(&mut self.lm, row, input)?;
            }
            inputs.push(RowInput { row, heard, forced: prompted.unwrap_or(forced) });
        }
        self.model.lm.step(&mut self.lm, &inputs)?;
        for step in healthy(steps) {
            step.output.error = self.lm.fault(step.row).map(|fault| format!("cannot think: {fault}"));
            if let FrameInput::Prompt = step.input {
                self.primed(step.row)?;
            }
        }
        self.said(steps)
    }

    /// A step of a row's prompt is done. The prompt is kept for others before the step that draws.
    fn primed(&mut self, row: usize) -> Result<(), ModelError> {
        let Row { priming: Some(priming), kept_as, .. } = &mut self.rows[row] else { return Ok(()) };
        priming.advance();
        match kept_as.take_if(|_| priming.left() == 1) {
            Some(key) if self.lm.fault(row).is_none() => self.model.kept.keep(&self.model.lm, &self.lm, row, &key),
            _ => Ok(()),
        }
    }

    /// Tells which words rows took, and whether they are done with them.
    fn said(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        let (lm, silent) = (&self.model.lm, [NEW_WORD, PADDING]);
        for step in healthy(steps) {
            let row = &mut self.rows[step.row];
            let Some(speech) = self.lm.speech(step.row) else {
                let token = self.lm.sampled(step.row).and_then(<[i32]>::first);
                row.saying.stepped(token.is_some_and(|token| silent.contains(token)));
                continue;
            };
            if let Some(reads_aloud) = self.model.reads_aloud {
                let lead = speech.rule().config().audio_lead();
                reads_aloud.tell(self.lm.fed(step.row), lead, &mut step.output.heard);
                step.output.ended = speech.rule().is_over();
            } else if speech.rule().is_empty() {
                lm.set_speech(&mut self.lm, step.row, None)?;
            }
        }
        Ok(())
    }

    /// Tells what the heads say and what was understood.
    fn recognise(&mut self, steps: &mut [RowStep<'_>]) {
        let config = self.model.lm.config();
        let tells = config.extra_heads_num_heads > 0 || self.model.recognition.is_some();
        for step in healthy(steps).filter(|step| tells && step.input != FrameInput::Prompt) {
            let heard = &mut step.output.heard;
            let heads = (0..config.extra_heads_num_heads).filter_map(|head| self.lm.extra_head(head, step.row));
            heads.for_each(|head| heard.heads.extend_from_slice(head));
            let token = self.lm.frame(step.row).and_then(<[i32]>::first);
            let listening = self.model.recognition.as_ref().zip(self.rows[step.row].listening.as_mut());
            if let (Some((recognition, listening)), Some(&token)) = (listening, token) {
                listening.push(recognition, token, config.extra_heads_dim, heard);
                step.output.ended = step.input == FrameInput::Nothing && listening.go_on();
            }
        }
    }

    /// Tells which translations are complete.
    fn translated(&mut self, steps: &mut [RowStep<'_>]) {
        for step in healthy(steps).filter(|step| step.input == FrameInput::Nothing) {
            let token = self.lm.frame(step.row).and_then(<[i32]>::first).copied();
            let translation = self.rows[step.row].translating.as_mut();
            step.output.ended |= translation.is_some_and(|translation| is_translated(translation, token));
        }
    }

    /// Hands out complete frames: as codes, as words, and to the codec.
    fn hand_out(&mut self, steps: &mut [RowStep<'_>]) {
        let Work { whole, heard_by, said, .. } = &mut self.work;
        let dep_q = self.model.lm.config().dep_q;
        whole.fill(false);
        // What a prompt makes is nobody's.
        for step in healthy(steps).filter(|step| step.input != FrameInput::Prompt) {
            let (Some(frame), row) = (self.lm.frame(step.row), &mut self.rows[step.row]) else { continue };
            if row.by_codes || row.tells_codes {
                step.output.codes.extend_from_slice(frame);
            }
            let Some((&text, codes)) = frame.split_first() else { continue };
            step.output.watched.extend(row.watched.contains(&text).then_some(text));
            if row.by_codes {
                continue;
            }
            let sound = row.reading.as_mut().map_or(Sound::Heard, Reading::next);
            if row.reading.is_none() {
                self.model.words.push(&mut row.text, text, &mut step.output.text);
            }
            whole[step.row] = dep_q > 0 && sound != Sound::Nothing;
            heard_by[step.row] = sound == Sound::Heard;
            said[step.row * dep_q..][..dep_q].copy_from_slice(codes);
        }
    }

    /// Speaks: complete frames to samples.
    fn speak(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        self.hand_out(steps);
        let Work { whole, heard_by, pcm, said, .. } = &mut self.work;
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        self.model.mimi.decode_step(decoder, whole, 1, said, pcm)?;
        for step in healthy(steps).filter(|s| whole[s.row]) {
            let said = &mut pcm[step.row * FRAME_SAMPLES..][..FRAME_SAMPLES];
            step.output.error = decoder.fault(step.row).map(|fault| format!("cannot speak: {fault}"));
            if step.output.error.is_none() && !said.iter().all(|x| x.is_finite()) {
                step.output.error = Some("cannot speak: the codec made samples that are not finite".to_owned());
            }
            if self.model.reads_aloud.is_some() {
                said.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0)); // as published
            }
            step.output.audio = step.output.error.is_none() && heard_by[step.row];
            step.pcm_out.copy_from_slice(said);
        }
        Ok(())
    }

    /// One step of the rows that `steps` name.
    ///
    /// # Errors
    /// When the device failed.
    pub(crate) fn run(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        self.encode(steps)?;
        self.think(steps)?;
        self.recognise(steps);
        self.translated(steps);
        self.speak(steps)
    }
}

/// The rows of a step that have not failed in an earlier part of it, and have something to do.
fn healthy<'a, 'b>(steps: &'a mut [RowStep<'b>]) -> impl Iterator<Item = &'a mut RowStep<'b>> {
    steps.iter_mut().filter(|step| step.output.error.is_none() && !step.output.waits)
}
