//! The whole model: codec, language model and text, for rows on any executor.

use std::any::Any;
use std::sync::Arc;

use mimi::{DecoderState, EncoderState, Mimi};
use moshi_checkpoint::config::ModelType;
use moshi_engine::{
    EngineError, FRAME_SAMPLES, FrameInput, FrameModel, HeardCodes, ModelInfo, ModelMemory, RowStep, SessionSpec,
};
use moshi_lm::conditions::ConditionValues;
use moshi_lm::text::{Detokenizer, TextState};
use moshi_lm::translation::Translation;
use moshi_lm::{Lm, LmState, PromptInput, RowInput};
use moshi_nn::Backend;
use moshi_nn::layers::StreamState;

use crate::choices::{adapter, conditions, sampling};
use crate::error::ModelError;
use crate::priming::Priming;
use crate::recognition::{Listening, Recognition};
use crate::translation::{NOTHING, after_end, is_translated, translation_of};

/// Codec, language model and tokenizer: weights only, shared by every set of rows.
pub(crate) struct Moshi<B: Backend> {
    pub(crate) info: ModelInfo,
    mimi: Arc<Mimi<B>>,
    pub(crate) lm: Lm<B>,
    words: Detokenizer,
    kind: ModelType,
    recognition: Option<Recognition>,
}

impl<B: Backend> Moshi<B> {
    /// Joins the parts.
    ///
    /// # Errors
    /// When the codec's frames, codebooks or codes are not those of the language model.
    pub(crate) fn new(mimi: Arc<Mimi<B>>, lm: Lm<B>, words: Detokenizer, info: ModelInfo) -> Result<Self, EngineError> {
        let config = lm.config();
        let fits = |what: &str, codec: usize, model: usize| {
            let message =
                format!("the codec has {codec} {what}, the language model needs {model}: they do not belong together");
            if codec == model { Ok(()) } else { Err(EngineError::Model(message)) }
        };
        fits("samples per frame", mimi.frame_size(), FRAME_SAMPLES)?;
        fits("codes per codebook", mimi.bins(), config.card)?;
        fits("codebooks", mimi.codebooks(), config.dep_q.max(lm.heard()))?;
        Ok(Self { info, mimi, lm, words, kind: ModelType::Moshi, recognition: None })
    }

    /// The same for what its checkpoint says it is for, with what makes words with times of a recognition's tokens.
    pub(crate) fn for_kind(self, kind: ModelType, recognition: Option<Recognition>) -> Self {
        Self { kind, recognition, ..self }
    }

    /// Where the language model and the codec run.
    pub(crate) fn executors(&self) -> [&B; 2] {
        [self.lm.backend(), self.mimi.backend()]
    }

    /// Notes what the model takes.
    pub(crate) fn tell(&mut self, memory: ModelMemory) {
        self.info.memory = memory;
    }

    fn heard_codes(&self) -> HeardCodes {
        // The last that the model has an embedding for is the one before the first frame.
        HeardCodes { streams: self.lm.heard(), last: self.lm.config().card }
    }
}

/// Memory of some rows of a [`Moshi`], with the buffers of a step.
pub(crate) struct MoshiRows<B: Backend> {
    model: Arc<Moshi<B>>,
    encoder: EncoderState<B>,
    lm: LmState<B>,
    decoder: Option<DecoderState<B>>,
    text: Vec<TextState>,
    /// Of each row, where the model recognises.
    listening: Vec<Option<Listening>>,
    /// Of each row, where the model translates.
    translating: Vec<Option<Translation>>,
    /// Rows that heard codes last: they are answered in codes.
    by_codes: Vec<bool>,
    /// The prompt of each row that has one.
    priming: Vec<Option<Priming>>,
    work: Work,
}

/// Buffers of a step on the host; hold nothing between steps.
struct Work {
    active: Vec<bool>,
    /// Rows whose step completed a frame.
    whole: Vec<bool>,
    /// `[rows, FRAME_SAMPLES]`, in and out.
    pcm: Vec<f32>,
    /// `[rows, codebooks]`, from the codec.
    heard: Vec<i32>,
    /// `[rows, user streams]`, for the language model.
    given: Vec<i32>,
    /// `[rows, dep_q]`.
    said: Vec<i32>,
}

impl<B: Backend> MoshiRows<B> {
    pub(crate) fn new(model: Arc<Moshi<B>>, rows: usize) -> Result<Self, ModelError> {
        let dep_q = model.lm.config().dep_q;
        let decoder = if dep_q > 0 { Some(model.mimi.init_decoder_for(rows, 1, dep_q)?) } else { None };
        let work = Work {
            active: vec![false; rows],
            whole: vec![false; rows],
            pcm: vec![0.0; rows * FRAME_SAMPLES],
            heard: vec![0; rows * model.mimi.codebooks()],
            given: vec![NOTHING; rows * model.lm.heard()],
            said: vec![0; rows * dep_q],
        };
        Ok(Self {
            encoder: model.mimi.init_encoder(rows, 1)?,
            lm: model.lm.init_state(rows)?,
            decoder,
            text: vec![TextState::default(); rows],
            listening: vec![model.recognition.as_ref().map(Recognition::listening); rows],
            translating: vec![None; rows],
            by_codes: vec![false; rows],
            priming: vec![None; rows],
            work,
            model,
        })
    }

    /// Lays out what rows hear: samples for the codec, codes for the language model.
    fn lay_out(&mut self, steps: &mut [RowStep<'_>]) {
        let users = self.model.lm.heard();
        let Work { active, pcm, given, .. } = &mut self.work;
        active.fill(false);
        for step in steps.iter_mut() {
            match step.input {
                FrameInput::Pcm(samples) => {
                    (active[step.row], self.by_codes[step.row]) = (true, false);
                    pcm[step.row * FRAME_SAMPLES..][..FRAME_SAMPLES].copy_from_slice(samples);
                }
                FrameInput::Codes(codes) => match self.model.heard_codes().check(codes) {
                    Ok(()) => {
                        self.by_codes[step.row] = true;
                        given[step.row * users..][..users].copy_from_slice(codes);
                    }
                    Err(error) => step.output.error = Some(error.to_string()),
                },
                FrameInput::Nothing => {
                    let listens = self.model.recognition.is_some() && !self.by_codes[step.row];
                    let code = after_end(self.translating[step.row].as_mut(), listens);
                    active[step.row] = code.is_none();
                    pcm[step.row * FRAME_SAMPLES..][..FRAME_SAMPLES].fill(0.0);
                    given[step.row * users..][..users].fill(code.unwrap_or(NOTHING));
                }
                FrameInput::Prompt => match self.priming[step.row].as_ref().and_then(Priming::next) {
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

    /// Thinks: codes of the rows that heard to the frames that became complete.
    fn think(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        let (users, given, priming) = (self.model.lm.heard(), &self.work.given, &mut self.priming);
        let mut inputs = Vec::with_capacity(steps.len());
        for step in healthy(steps) {
            let (row, heard) = (step.row, &given[step.row * users..][..users]);
            let prompt = if let FrameInput::Prompt = step.input { priming[row].as_ref() } else { None };
            let (frame, forced) = prompt.and_then(Priming::next).unzip();
            if let Some(input) = frame.and_then(|frame| frame.input.as_deref()) {
                self.model.lm.replay_input(&mut self.lm, row, input)?;
            }
            inputs.push(RowInput { row, heard, forced: forced.unwrap_or(&[]) });
        }
        self.model.lm.step(&mut self.lm, &inputs)?;
        for step in healthy(steps).filter(|step| step.input == FrameInput::Prompt) {
            priming[step.row].iter_mut().for_each(Priming::advance);
        }
        for step in healthy(steps) {
            step.output.error = self.lm.fault(step.row).map(|fault| format!("cannot think: {fault}"));
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
            let listening = self.model.recognition.as_ref().zip(self.listening[step.row].as_mut());
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
            let translation = self.translating[step.row].as_mut();
            step.output.ended |= translation.is_some_and(|translation| is_translated(translation, token));
        }
    }

    /// Speaks: complete frames to samples and words.
    fn speak(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), ModelError> {
        let Work { whole, pcm, said, .. } = &mut self.work;
        let dep_q = self.model.lm.config().dep_q;
        whole.fill(false);
        // What a prompt makes is nobody's.
        for step in healthy(steps).filter(|step| step.input != FrameInput::Prompt) {
            let Some(frame) = self.lm.frame(step.row) else { continue };
            if self.by_codes[step.row] {
                step.output.codes.extend_from_slice(frame);
                continue;
            }
            let Some((&text, codes)) = frame.split_first() else { continue };
            self.model.words.push(&mut self.text[step.row], text, &mut step.output.text);
            whole[step.row] = dep_q > 0;
            said[step.row * dep_q..][..dep_q].copy_from_slice(codes);
        }
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        self.model.mimi.decode_step(decoder, whole, 1, said, pcm)?;
        for step in healthy(steps).filter(|s| whole[s.row]) {
            let said = &pcm[step.row * FRAME_SAMPLES..][..FRAME_SAMPLES];
            step.output.error = decoder.fault(step.row).map(|fault| format!("cannot speak: {fault}"));
            if step.output.error.is_none() && !said.iter().all(|x| x.is_finite()) {
                step.output.error = Some("cannot speak: the codec made samples that are not finite".to_owned());
            }
            step.output.audio = step.output.error.is_none();
            step.pcm_out.copy_from_slice(said);
        }
        Ok(())
    }

    /// Takes the memory of a row.
    fn reserve(&mut self, row: usize) -> Result<(), ModelError> {
        let backend = self.model.lm.backend();
        self.encoder.reserve_row(backend, row)?;
        if let Some(decoder) = &mut self.decoder {
            decoder.reserve_row(backend, row)?;
        }
        Ok(self.lm.reserve_row(backend, row)?)
    }

    /// Gives the memory of a row back.
    fn release(&mut self, row: usize) {
        let backend = self.model.lm.backend();
        self.encoder.release_row(backend, row);
        if let Some(decoder) = &mut self.decoder {
            decoder.release_row(backend, row);
        }
        self.lm.release_row(backend, row);
    }

    /// Gives a row that is before its first step what its session was told.
    fn tell(&mut self, row: usize, spec: &SessionSpec) -> Result<(), ModelError> {
        let (lm, state) = (&self.model.lm, &mut self.lm);
        lm.set_adapter(state, row, adapter(lm.adapters(), spec)?)?;
        let priming = spec.prompt.clone().map(Priming::new);
        for (frame, forced) in priming.iter().flat_map(Priming::steps) {
            self.model.heard_codes().check(&frame.heard)?;
            let input = PromptInput { heard: &frame.heard, forced, replayed: frame.input.as_deref() };
            lm.check_prompt(state, row, &input)?;
        }
        self.priming[row] = priming;
        self.translating[row] = translation_of(self.model.kind, lm.config().card, spec);
        let told = conditions(spec);
        if told != ConditionValues::new() || !lm.config().conditioners.is_empty() {
            lm.set_conditions(state, row, &lm.conditions(&told)?)?;
        }
        Ok(lm.set_sampling(state, row, &sampling(&spec.sampling))?)
    }

    fn reset(&mut self, row: usize) -> Result<(), ModelError> {
        let backend = self.model.lm.backend();
        self.encoder.reset_row(backend, row)?;
        if let Some(decoder) = &mut self.decoder {
            decoder.reset_row(backend, row)?;
        }
        self.model.lm.reset(&mut self.lm, row)?;
        self.text[row] = TextState::default();
        self.listening[row] = self.model.recognition.as_ref().map(Recognition::listening);
        (self.by_codes[row], self.priming[row]) = (false, None);
        Ok(())
    }

    fn copy_from(&mut self, src: &Self, src_row: usize, row: usize) -> Result<(), ModelError> {
        let backend = self.model.lm.backend();
        self.encoder.copy_row(backend, row, &src.encoder, src_row)?;
        if let (Some(to), Some(from)) = (&mut self.decoder, &src.decoder) {
            to.copy_row(backend, row, from, src_row)?;
        }
        self.model.lm.copy_row(&mut self.lm, row, &src.lm, src_row)?;
        self.text[row] = src.text[src_row];
        self.listening[row] = src.listening[src_row].clone();
        self.translating[row] = src.translating[src_row].clone();
        (self.by_codes[row], self.priming[row]) = (src.by_codes[src_row], src.priming[src_row].clone());
        Ok(())
    }
}

impl<B: Backend> FrameModel for MoshiRows<B> {
    fn rows(&self) -> usize {
        self.text.len()
    }

    fn bytes_per_session(&self) -> u64 {
        self.model.info.memory.session
    }

    fn heard_codes(&self) -> Option<HeardCodes> {
        Some(self.model.heard_codes())
    }

    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        spec.sampling.validate()?;
        adapter(self.model.lm.adapters(), spec)?;
        self.reserve(row)?;
        let told = self.reset(row).and_then(|()| self.tell(row, spec));
        if told.is_err() {
            self.close(row);
        }
        Ok(told?)
    }

    fn close(&mut self, row: usize) {
        self.priming[row] = None;
        self.release(row);
    }

    fn priming(&self, row: usize) -> usize {
        self.priming[row].as_ref().map_or(0, Priming::left)
    }

    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        self.encode(steps)?;
        self.think(steps)?;
        self.recognise(steps);
        self.translated(steps);
        Ok(self.speak(steps)?)
    }

    fn copy_row_from(&mut self, src: &dyn FrameModel, src_row: usize, row: usize) -> Result<(), EngineError> {
        let src: &dyn Any = src;
        let src = src.downcast_ref::<Self>().filter(|s| Arc::ptr_eq(&s.model, &self.model));
        Ok(self.copy_from(src.ok_or_else(|| EngineError::other_model("model"))?, src_row, row)?)
    }

    fn copy_row(&mut self, src_row: usize, row: usize) -> Result<(), EngineError> {
        let mut between = Self::new(self.model.clone(), 1)?;
        between.copy_from(self, src_row, 0)?;
        Ok(self.copy_from(&between, 0, row)?)
    }
}

/// The rows of a step that have not failed in an earlier part of it.
fn healthy<'a, 'b>(steps: &'a mut [RowStep<'b>]) -> impl Iterator<Item = &'a mut RowStep<'b>> {
    steps.iter_mut().filter(|step| step.output.error.is_none())
}
