//! The whole model: codec, language model and text, for rows on any executor.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mimi::{DecoderState, EncoderState, Mimi};
use moshi_checkpoint::config::TtsConfig;
use moshi_engine::{
    Condition, EngineError, FRAME_SAMPLES, FrameModel, HeardCodes, ModelInfo, ModelKind, ModelMemory, RowStep,
    SessionSpec, Steering,
};
use moshi_lm::conditions::Conditions;
use moshi_lm::guidance::{Guidance, Guided};
use moshi_lm::spelling::Speller;
use moshi_lm::text::Detokenizer;
use moshi_lm::{Lm, LmState, PromptInput};
use moshi_nn::Backend;
use moshi_nn::layers::StreamState;

use crate::choices::{adapter, away, codebooks, condition_values, conditions, learnt, sampling, watched};
use crate::error::ModelError;
use crate::kept::{KeptPrompts, Key};
use crate::priming::Priming;
use crate::reading::ReadsAloud;
use crate::recognition::Recognition;
use crate::row::Row;
use crate::steering::Steered;
use crate::step::Work;
use crate::translation::translation_of;

/// What a model is joined from.
pub(crate) struct Parts<B: Backend> {
    pub(crate) mimi: Arc<Mimi<B>>,
    pub(crate) lm: Lm<B>,
    pub(crate) words: Detokenizer,
    pub(crate) speller: Arc<Speller>,
    pub(crate) tts: Option<TtsConfig>,
    pub(crate) recognition: Option<Recognition>,
}

/// Codec, language model and tokenizer: weights only, shared by every set of rows.
pub(crate) struct Moshi<B: Backend> {
    pub(crate) info: ModelInfo,
    pub(crate) mimi: Arc<Mimi<B>>,
    pub(crate) lm: Lm<B>,
    pub(crate) words: Detokenizer,
    pub(crate) recognition: Option<Recognition>,
    pub(crate) reads_aloud: Option<ReadsAloud>,
    pub(crate) steering: Arc<Steered>,
    /// Prompts of sessions before.
    pub(crate) kept: KeptPrompts<B>,
    /// What sessions were told last.
    told: Mutex<Vec<ToldBefore<B>>>,
}

/// What sessions were told, and what the model made of it.
type ToldBefore<B> = (BTreeMap<String, Condition>, Arc<Conditions<B>>);

/// How many of them are kept: the keys of a voice in all layers take up to 80 MB.
const TOLD_BEFORE: usize = 4;

impl<B: Backend> Moshi<B> {
    /// Joins the parts.
    ///
    /// # Errors
    /// When the codec's frames, codebooks or codes are not those of the language model.
    pub(crate) fn new(parts: Parts<B>, info: ModelInfo) -> Result<Self, EngineError> {
        let Parts { mimi, lm, words, speller, tts, recognition } = parts;
        let config = lm.config();
        let fits = |what: &str, codec: usize, model: usize| {
            let message =
                format!("the codec has {codec} {what}, the language model needs {model}: they do not belong together");
            if codec == model { Ok(()) } else { Err(EngineError::Model(message)) }
        };
        fits("samples per frame", mimi.frame_size(), FRAME_SAMPLES)?;
        fits("codes per codebook", mimi.bins(), config.card)?;
        fits("codebooks", mimi.codebooks(), config.dep_q.max(lm.heard()))?;
        let rate = mimi.frame_rate();
        let reads_aloud = (info.kind == ModelKind::Tts).then(|| ReadsAloud::new(tts, config, rate));
        let steering = Arc::new(Steered::new(speller, config, reads_aloud, rate));
        Ok(Self {
            info,
            mimi,
            lm,
            words,
            recognition,
            reads_aloud,
            steering,
            kept: KeptPrompts::default(),
            told: Mutex::default(),
        })
    }

    /// Whether its sessions can have a second row that they are drawn away from: where it is told something, and has not
    /// learnt what guidance comes to.
    fn is_guided(&self) -> bool {
        let kind = matches!(self.info.kind, ModelKind::Tts | ModelKind::Translation);
        kind && learnt(&self.info.conditions).is_none()
    }

    /// How far a session is drawn by a second row; `None` where there is none.
    ///
    /// # Errors
    /// [`EngineError::Parameter`] for no number, and in models that know no guidance.
    fn coefficient(&self, spec: &SessionSpec) -> Result<Option<f32>, EngineError> {
        let refused = |found: String, expected: &str| {
            Err(EngineError::Parameter { name: "cfg", found, expected: expected.to_owned() })
        };
        match spec.guidance {
            None => Ok(None),
            Some(x) if !x.is_finite() || x.abs() > 20.0 => refused(x.to_string(), "a number from -20 to 20"),
            Some(_) if learnt(&self.info.conditions).is_some() => Ok(None), // it is a condition
            Some(1.0) => Ok(None),
            Some(x) if self.is_guided() => Ok(Some(x)),
            Some(x) => refused(x.to_string(), "1, or none: this model knows no guidance"),
        }
    }

    /// What the model makes of what a session is told. Kept for the next one, which is often told the same.
    fn told(
        &self,
        values: &Result<BTreeMap<String, Condition>, EngineError>,
    ) -> Result<Arc<Conditions<B>>, ModelError> {
        let values = values.as_ref().map_err(Clone::clone)?;
        let before = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, told)) = before().iter().find(|(before, _)| before == values) {
            return Ok(told.clone());
        }
        let told = Arc::new(self.lm.conditions(&condition_values(values)?)?);
        let mut before = before();
        before.truncate(TOLD_BEFORE - 1);
        before.insert(0, (values.clone(), told.clone()));
        Ok(told)
    }

    /// Where it runs.
    pub(crate) fn executor(&self) -> &B {
        self.lm.backend()
    }

    /// Notes what the model takes.
    pub(crate) fn tell(&mut self, memory: ModelMemory) {
        self.info.memory = memory;
    }

    pub(crate) fn heard_codes(&self) -> HeardCodes {
        // The last that the model has an embedding for is the one before the first frame.
        HeardCodes { streams: self.lm.heard(), last: self.lm.config().card }
    }
}

/// Memory of some rows of a [`Moshi`], with the buffers of a step.
pub(crate) struct MoshiRows<B: Backend> {
    pub(crate) model: Arc<Moshi<B>>,
    pub(crate) encoder: EncoderState<B>,
    /// Where the model can be guided, as many rows again, each beside one of the first.
    pub(crate) lm: LmState<B>,
    pub(crate) decoder: Option<DecoderState<B>>,
    pub(crate) rows: Vec<Row>,
    pub(crate) work: Work,
}

impl<B: Backend> MoshiRows<B> {
    pub(crate) fn new(model: Arc<Moshi<B>>, rows: usize) -> Result<Self, ModelError> {
        let dep_q = model.lm.config().dep_q;
        let decoder = if dep_q > 0 { Some(model.mimi.init_decoder_for(rows, 1, dep_q)?) } else { None };
        let work = Work::new(rows, model.mimi.codebooks(), &model.lm);
        let beside = if model.is_guided() { 2 } else { 1 };
        Ok(Self {
            encoder: model.mimi.init_encoder(rows, 1)?,
            lm: model.lm.init_state(rows * beside)?,
            decoder,
            rows: vec![Row::default(); rows],
            work,
            model,
        })
    }

    /// Takes the memory of a row, and of the one beside it where it has one.
    fn reserve(&mut self, row: usize, guided: bool) -> Result<(), ModelError> {
        let backend = self.model.lm.backend();
        self.encoder.reserve_row(backend, row)?;
        if let Some(decoder) = &mut self.decoder {
            decoder.reserve_row(backend, row)?;
        }
        self.lm.reserve_row(backend, row)?;
        if guided {
            self.lm.reserve_row(backend, self.rows.len() + row)?;
        }
        Ok(())
    }

    /// Gives the memory of a row back.
    fn release(&mut self, row: usize) {
        let backend = self.model.lm.backend();
        self.encoder.release_row(backend, row);
        if let Some(decoder) = &mut self.decoder {
            decoder.release_row(backend, row);
        }
        self.lm.release_row(backend, row);
        if self.rows[row].guided {
            self.lm.release_row(backend, self.rows.len() + row);
        }
    }

    /// Gives a row that is before its first step what its session was told.
    fn tell(&mut self, row: usize, spec: &SessionSpec) -> Result<(), ModelError> {
        self.guide(row, spec)?;
        let (model, state) = (self.model.clone(), &mut self.lm);
        let lm = &model.lm;
        lm.set_adapter(state, row, adapter(lm.adapters(), spec.adapter.as_deref())?)?;
        let most = lm.config().dep_q;
        if most > 0 {
            lm.set_codebooks(state, row, codebooks(most, spec)?)?;
        }
        let mut priming = spec.prompt.clone().map(Priming::new);
        for (frame, forced) in priming.iter().flat_map(Priming::steps) {
            model.heard_codes().check(&frame.heard)?;
            let input = PromptInput { heard: &frame.heard, forced, replayed: frame.input.as_deref() };
            lm.check_prompt(state, row, &input)?;
        }
        let reading = model.reads_aloud.map(|reads| reads.speech(&spec.reading, most)).transpose()?;
        let (speech, reading) = reading.unzip();
        if speech.is_some() {
            lm.set_speech(state, row, speech)?;
        }
        if !lm.config().conditioners.is_empty() {
            lm.set_conditions(state, row, &*model.told(&conditions(&model.info.conditions, spec))?)?;
        }
        let mut kept_as = Key::of(spec);
        if let (Some(key), Some(priming)) = (&kept_as, &mut priming)
            && model.kept.recall(lm, state, row, key)?
        {
            priming.skip_to_last();
            kept_as = None;
        }
        lm.set_sampling(state, row, &sampling(&spec.sampling))?;
        self.rows[row] = Row {
            listening: model.recognition.as_ref().map(Recognition::listening),
            translating: translation_of(model.info.kind, lm.config().card, spec),
            reading,
            priming,
            kept_as,
            tells_codes: spec.tells_codes,
            watched: watched(lm.config().text_card, spec)?,
            guided: self.rows[row].guided,
            ..Row::default()
        };
        Ok(())
    }

    /// Puts the row that it is drawn away from beside a row, or takes it away.
    fn guide(&mut self, row: usize, spec: &SessionSpec) -> Result<(), ModelError> {
        let (lm, state) = (&self.model.lm, &mut self.lm);
        let Some(coefficient) = self.model.coefficient(spec)? else { return Ok(()) };
        let null_row = self.rows.len() + row;
        lm.set_conditions(state, null_row, &*self.model.told(&away(&self.model.info.conditions, spec))?)?;
        let guided = if self.model.info.kind == ModelKind::Tts { Guided::Audio } else { Guided::Everything };
        lm.set_guidance(state, row, Some(Guidance { null_row, coefficient, guided }))?;
        self.rows[row].guided = true;
        Ok(())
    }

    fn reset(&mut self, row: usize) -> Result<(), ModelError> {
        let backend = self.model.lm.backend();
        self.encoder.reset_row(backend, row)?;
        if let Some(decoder) = &mut self.decoder {
            decoder.reset_row(backend, row)?;
        }
        let beside = self.rows.len() + row;
        if std::mem::take(&mut self.rows[row].guided) {
            self.model.lm.set_guidance(&mut self.lm, row, None)?;
        }
        if beside < self.lm.rows() {
            self.model.lm.reset(&mut self.lm, beside)?;
        }
        self.model.lm.reset(&mut self.lm, row)?;
        self.rows[row] = Row::default();
        Ok(())
    }

    fn copy_from(&mut self, src: &Self, src_row: usize, row: usize) -> Result<(), ModelError> {
        if src.rows[src_row].guided {
            return Err(EngineError::Input("a session with guidance cannot be copied; open another".to_owned()).into());
        }
        let backend = self.model.lm.backend();
        self.encoder.copy_row(backend, row, &src.encoder, src_row)?;
        if let (Some(to), Some(from)) = (&mut self.decoder, &src.decoder) {
            to.copy_row(backend, row, from, src_row)?;
        }
        self.model.lm.copy_row(&mut self.lm, row, &src.lm, src_row)?;
        self.rows[row] = src.rows[src_row].clone();
        Ok(())
    }
}

impl<B: Backend> FrameModel for MoshiRows<B> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn bytes_per_session(&self) -> u64 {
        self.model.info.memory.session
    }

    fn heard_codes(&self) -> Option<HeardCodes> {
        Some(self.model.heard_codes())
    }

    fn steering(&self) -> Option<Arc<dyn Steering>> {
        Some(self.model.steering.clone())
    }

    fn open(&mut self, row: usize, spec: &SessionSpec) -> Result<(), EngineError> {
        spec.sampling.validate()?;
        adapter(self.model.lm.adapters(), spec.adapter.as_deref())?;
        let guided = self.model.coefficient(spec)?.is_some();
        self.reserve(row, guided)?;
        let told = self.reset(row).and_then(|()| self.tell(row, spec));
        if told.is_err() {
            self.close(row);
        }
        Ok(told?)
    }

    fn close(&mut self, row: usize) {
        self.release(row);
        self.rows[row].priming = None;
    }

    fn priming(&self, row: usize) -> usize {
        self.rows[row].priming.as_ref().map_or(0, Priming::left)
    }

    fn step(&mut self, steps: &mut [RowStep<'_>]) -> Result<(), EngineError> {
        Ok(self.run(steps)?)
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
