//! What the models of one checkpoint have in common, whatever adapters they are loaded with.

use std::sync::{Arc, OnceLock};

use mimi::Mimi;
use moshi_checkpoint::{AdapterFile, Repository};
use moshi_engine::{EngineError, ModelInfo, ModelMemory, SpeechModel};
use moshi_lm::spelling::Speller;
use moshi_lm::text::Detokenizer;
use moshi_lm::{Lm, NamedAdapter};
use moshi_nn::{Backend, LaidOut};

use crate::codec::MimiCodec;
use crate::error::{ModelError, told};
use crate::info::describe;
use crate::memory::measure;
use crate::moshi::{Moshi, Parts};
use crate::recognition::Recognition;
use crate::shared::SharedMoshi;
use crate::weights::Weights;
use crate::{Adaptable, AdapterPath, Codec, LoadOptions, Loaded, Roles, Transcriber};

/// The opened files of a checkpoint, and what executors have made of them.
pub(crate) struct Base<B: Backend> {
    repository: Repository,
    source: String,
    options: LoadOptions,
    notice: Option<String>,
    executor: B,
    laid_out: LaidOut<B>,
    mimi: Arc<Mimi<B>>,
    tokenizer: Vec<u8>,
    speller: Arc<Speller>,
    /// Bytes of weights that a step reads.
    weight_bytes: u64,
    /// Bytes of all weights of the first model.
    first: OnceLock<u64>,
}

impl<B: Backend> Base<B> {
    /// Lays out the codec and the language model, with the adapters of its options.
    pub(crate) fn open(
        executor: B,
        repository: &Repository,
        source: &str,
        options: LoadOptions,
        notice: Option<String>,
    ) -> Result<(Self, Lm<B>), ModelError> {
        repository.lm().map_err(failed)?; // what is wrong with the model is told before what is wrong with its codec
        let tensors = repository.mimi().map_err(failed)?;
        let weights = Weights::of_codec(&tensors, &options);
        let config = repository.mimi_config().map_err(failed)?;
        let laid_out = LaidOut::default();
        let (lm, lm_bytes) = lay_out(executor.clone(), repository, &options, &options.adapters, &laid_out)?;
        let codebooks = lm.config().dep_q.max(lm.heard());
        let mimi = Arc::new(Mimi::load(executor.clone(), &weights, config, codebooks)?);
        let tokenizer = repository.tokenizer_bytes().map_err(failed)?;
        let speller =
            Speller::from_bytes(source, &tokenizer, lm.config()).map_err(|e| EngineError::Load(e.to_string()))?;
        let base = Self {
            repository: repository.clone(),
            source: source.to_owned(),
            options,
            notice,
            executor,
            laid_out,
            mimi,
            tokenizer,
            speller: Arc::new(speller),
            weight_bytes: lm_bytes + weights.read.get(),
            first: OnceLock::new(),
        };
        Ok((base, lm))
    }

    /// The model that was laid out first, and what belongs to it.
    pub(crate) fn loaded(self, lm: Lm<B>) -> Result<Loaded, ModelError> {
        let config = self.repository.config();
        let named = (self.source.as_str(), self.tokenizer.as_slice());
        let codec: Arc<dyn Codec> = Arc::new(MimiCodec(self.mimi.clone()));
        let transcriber = Transcriber::of(config, &config.lm, self.mimi.frame_rate(), &self.speller, named)?;
        let beside = || Some(self.repository.config_path()?.parent()?.join("voices"));
        let voices = self.options.voices.clone().or_else(beside);
        let roles = Roles::of(&config.lm, voices, codec.clone(), &self.speller);
        let model = self.join(lm, None)?;
        let (transcriber, roles) = (transcriber.map(Arc::new), roles.map(Arc::new));
        Ok(Loaded { model, codec, transcriber, roles, base: Arc::new(self) })
    }

    /// A whole model; `before` is what executors had been asked for before its language model was laid out, unless it is
    /// the first.
    fn join(&self, lm: Lm<B>, before: Option<u64>) -> Result<Arc<dyn SpeechModel>, ModelError> {
        let Self { repository, source, options, tokenizer, .. } = self;
        let words =
            Detokenizer::from_bytes(source, tokenizer, lm.config()).map_err(|e| EngineError::Load(e.to_string()))?;
        let named = (source.as_str(), tokenizer.as_slice());
        let recognition = Recognition::of(repository.config(), lm.config(), self.mimi.frame_rate(), named)?;
        let info = ModelInfo {
            notice: self.notice.clone(),
            weight_bytes: self.weight_bytes,
            threads: options.threads.map_or(1, std::num::NonZeroUsize::get),
            ..describe(&lm, source, repository)
        };
        let (mimi, speller, tts) = (self.mimi.clone(), self.speller.clone(), repository.config().tts_config);
        let mut model = Arc::new(Moshi::new(Parts { mimi, lm, words, speller, tts, recognition }, info)?);
        let measured = measure(&model)?;
        // Executors count what they were ever asked for: of models that came between, that is no more there.
        let first = *self.first.get_or_init(|| measured.weights);
        let memory = ModelMemory { weights: first + measured.weights - before.unwrap_or(first), ..measured };
        if let Some(model) = Arc::get_mut(&mut model) {
            model.tell(memory);
        }
        Ok(Arc::new(SharedMoshi(model)))
    }
}

impl<B: Backend> Adaptable for Base<B> {
    fn adapters(&self) -> &[AdapterPath] {
        &self.options.adapters
    }

    fn adapted(&self, adapters: &[AdapterPath]) -> Result<Arc<dyn SpeechModel>, EngineError> {
        let before = Some(self.executor.taken().weights);
        let lm = lay_out(self.executor.clone(), &self.repository, &self.options, adapters, &self.laid_out);
        lm.and_then(|(lm, _)| self.join(lm, before)).map_err(|e| told(e).while_loading())
    }
}

/// The language model with adapters to choose from, and the bytes of weights that were read for it: those of a step, where
/// nothing was laid out before.
fn lay_out<B: Backend>(
    executor: B,
    repository: &Repository,
    options: &LoadOptions,
    adapters: &[AdapterPath],
    laid_out: &LaidOut<B>,
) -> Result<(Lm<B>, u64), ModelError> {
    let (tensors, config) = (repository.lm().map_err(failed)?, &repository.config().lm);
    let weights = Weights::of_lm(&tensors, options);
    let open = |adapter: &AdapterPath| {
        if adapter.path.exists() {
            return AdapterFile::open(&adapter.path, config).map_err(failed);
        }
        let message = format!(
            "adapter {}: there is no such folder; expected one with lora.safetensors and config.json",
            adapter.path.display()
        );
        Err(EngineError::Load(message))
    };
    let files = adapters.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let named = adapters.iter().zip(&files).map(|(adapter, source)| NamedAdapter { name: &adapter.name, source });
    let lm = Lm::load_sharing(executor, &weights, config, &named.collect::<Vec<_>>(), laid_out)?;
    Ok((lm, weights.read.get()))
}

pub(crate) fn failed(error: moshi_checkpoint::Error) -> EngineError {
    EngineError::Load(error.to_string())
}
