//! From an opened repository to a model or codec, on the executor of choice.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use mimi::Mimi;
use moshi_checkpoint::quantize::{Plan, Quantize};
use moshi_checkpoint::{AdapterFile, Repository, Stop};
use moshi_cpu::cores::Cores;
use moshi_engine::{EngineError, ModelInfo, ModelKind, SHARED_ABOVE_BYTES, SpeechModel};
use moshi_lm::spelling::Speller;
use moshi_lm::text::Detokenizer;
use moshi_lm::{Lm, LmConfig, NamedAdapter};
use moshi_nn::{Backend, HostWeight, LowRankPair, WeightData, WeightSource};

use crate::codec::MimiCodec;
use crate::error::{ModelError, told};
use crate::info::describe;
use crate::memory::measure;
use crate::moshi::{Moshi, Parts};
use crate::recognition::Recognition;
use crate::registry::{Device, Executors, OnExecutors, Wanted, on_device};
use crate::shared::SharedMoshi;
use crate::{AdapterPath, Codec, Roles, Transcriber, expect_kind};

/// The number format of the weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Single precision: exact for every file that is not quantized, and twice the memory of bf16.
    F32,
    /// bfloat16, rounded to nearest from what the file holds.
    Bf16,
    /// IEEE half precision, rounded to nearest from what the file holds.
    F16,
}

impl FromStr for Dtype {
    type Err = EngineError;

    fn from_str(s: &str) -> Result<Self, EngineError> {
        Ok(match s {
            "f32" | "float32" => Self::F32,
            "bf16" | "bfloat16" => Self::Bf16,
            "f16" | "float16" => Self::F16,
            other => {
                return Err(EngineError::Parameter {
                    name: "dtype",
                    found: format!("{other:?}"),
                    expected: "f32, bf16, f16, or none to keep what the file holds".to_owned(),
                });
            }
        })
    }
}

/// How a model is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The executor.
    pub device: Device,
    /// Format of the language model's weights in memory; `None` keeps what the file holds. With [`Dtype::F32`] the codec
    /// computes in single precision too; otherwise, on the processor, in integers of about 14 bits, twice as fast
    /// (`benches/mimi_precision.py` says how far apart they are).
    pub dtype: Option<Dtype>,
    /// Turns the language model's matrices into integers of so many bits while they are loaded: which of them, and how,
    /// is [`moshi_checkpoint::quantize::Plan`]'s choice. Matrices that the file holds in as few bits stay as they are.
    pub quantize: Option<Quantize>,
    /// Codebooks of a codec that is loaded alone; a model decides for itself.
    pub num_codebooks: Option<usize>,
    /// Round nothing for speed: activations, keys and values in single precision even where weights are quantized, the
    /// codec in single precision too. Slower; for comparisons.
    pub exact: bool,
    /// Threads per step; `None` takes one for each core, or one where steps are too small to share.
    pub threads: Option<NonZeroUsize>,
    /// Adapters that conversations may choose from, each in a folder of its own (or its file of weights): the base stays as
    /// it is, in whatever format, and is there once.
    pub adapters: Vec<AdapterPath>,
    /// Ends the loading, which then errs, between two tensors: a large model takes minutes to lay out.
    pub stop: Stop,
}

/// A model, and its codec alone.
pub struct Loaded {
    /// The whole model.
    pub model: Arc<dyn SpeechModel>,
    /// Its codec.
    pub codec: Arc<dyn Codec>,
    /// What makes words with times of its steps, where it is for recognition.
    pub transcriber: Option<Arc<Transcriber>>,
    /// What makes prompts of voices and roles, where it has the streams for it.
    pub roles: Option<Arc<Roles>>,
}

impl Loaded {
    /// What makes words of a recognition.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a model of another kind; `what` is what needs one.
    pub fn recognition(&self, what: &str) -> Result<&Arc<Transcriber>, EngineError> {
        let info = self.model.info();
        expect_kind(info, what, ModelKind::Stt)?;
        let missing = || EngineError::Load(format!("{}: it has no tokenizer for {what}", info.source));
        self.transcriber.as_ref().ok_or_else(missing)
    }

    /// What makes prompts of voices and roles.
    ///
    /// # Errors
    /// [`EngineError::Input`] for a model that plays none.
    pub fn role_play(&self) -> Result<&Arc<Roles>, EngineError> {
        let info = self.model.info();
        expect_kind(info, "a role or voice", ModelKind::Dialogue)?;
        self.roles.as_ref().ok_or_else(|| {
            EngineError::Input(format!(
                "a role or voice needs a model of 8 streams on each side, such as nvidia/personaplex-7b-v1; {} has {} and {}",
                info.source, info.dep_q, info.user_streams
            ))
        })
    }
}

/// Lays out the model of an opened repository. `source` is what messages call it.
///
/// # Errors
/// When a tensor is missing or has the wrong shape, parts do not belong together, or the device is not there.
pub fn load_model(repository: &Repository, source: &str, options: &LoadOptions) -> Result<Loaded, EngineError> {
    load_model_with_notice(repository, source, options, None)
}

pub(crate) fn load_model_with_notice(
    repository: &Repository,
    source: &str,
    options: &LoadOptions,
    notice: Option<String>,
) -> Result<Loaded, EngineError> {
    let options = LoadOptions { threads: Some(threads(repository, options)), ..options.clone() };
    let wanted = wanted(repository, &options);
    let model = LoadModel { repository, source, options, notice };
    on_device(&wanted, model).map_err(EngineError::while_loading)
}

/// The executors that `options` ask for.
fn wanted(repository: &Repository, options: &LoadOptions) -> Wanted {
    Wanted {
        device: options.device,
        cores: Cores::new(threads(repository, options)),
        exact: options.exact,
        exact_codec: options.exact || options.dtype == Some(Dtype::F32),
    }
}

/// As [`load_model`] on executors at hand, whatever device the options name.
///
/// # Errors
/// As [`load_model`].
pub fn load_model_on<B: Backend>(
    executors: Executors<B>,
    repository: &Repository,
    source: &str,
    options: &LoadOptions,
) -> Result<Loaded, EngineError> {
    let options = LoadOptions { threads: Some(threads(repository, options)), ..options.clone() };
    LoadModel { repository, source, options, notice: None }.run(executors).map_err(EngineError::while_loading)
}

/// Lays out the codec of an opened repository.
///
/// # Errors
/// As [`load_model`]; also when the file holds fewer codebooks than were asked for.
pub fn load_codec(repository: &Repository, options: &LoadOptions) -> Result<Arc<dyn Codec>, EngineError> {
    let codec = LoadCodec { repository, options };
    on_device(&wanted(repository, options), codec).map_err(EngineError::while_loading)
}

/// One thread where a step is too small to share, one for each core otherwise.
fn threads(repository: &Repository, options: &LoadOptions) -> NonZeroUsize {
    let parts = [repository.lm(), repository.mimi()];
    let bytes: usize = parts.iter().flatten().flat_map(|t| t.names().filter_map(|n| t.bytes(n)).map(<[u8]>::len)).sum();
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let small = bytes as u64 <= SHARED_ABOVE_BYTES;
    options.threads.unwrap_or_else(|| if small { NonZeroUsize::MIN } else { cores() })
}

/// A whole model to lay out.
struct LoadModel<'a> {
    repository: &'a Repository,
    source: &'a str,
    options: LoadOptions,
    notice: Option<String>,
}

impl OnExecutors for LoadModel<'_> {
    type Output = Loaded;

    fn run<B: Backend>(self, executors: Executors<B>) -> Result<Loaded, EngineError> {
        Ok(self.on(executors)?)
    }
}

impl LoadModel<'_> {
    fn on<B: Backend>(self, executors: Executors<B>) -> Result<Loaded, ModelError> {
        let Self { repository, source, options, notice } = self;
        let (lm_tensors, mimi_tensors) = (repository.lm().map_err(failed)?, repository.mimi().map_err(failed)?);
        let lm_weights = Weights { quantize: options.quantize.map(Plan::from), ..Weights::new(&lm_tensors, &options) };
        let lm = load_lm(executors.lm, &lm_weights, &repository.config().lm, &options.adapters)?;
        let codebooks = lm.config().dep_q.max(lm.heard());
        let mimi_weights = Weights::new(&mimi_tensors, &LoadOptions { dtype: None, ..options.clone() });
        let config = repository.mimi_config().map_err(failed)?;
        let mimi = Arc::new(Mimi::load(executors.codec, &mimi_weights, config, codebooks)?);
        let codec: Arc<dyn Codec> = Arc::new(MimiCodec(mimi.clone()));
        let tokenizer = repository.tokenizer_bytes().map_err(failed)?;
        let words =
            Detokenizer::from_bytes(source, &tokenizer, lm.config()).map_err(|e| EngineError::Load(e.to_string()))?;
        let named = (source, tokenizer.as_slice());
        let recognition = Recognition::of(repository.config(), lm.config(), mimi.frame_rate(), named)?;
        let speller =
            Speller::from_bytes(source, &tokenizer, lm.config()).map_err(|e| EngineError::Load(e.to_string()))?;
        let speller = Arc::new(speller);
        let transcriber = Transcriber::of(repository.config(), lm.config(), mimi.frame_rate(), &speller, named)?;
        let transcriber = transcriber.map(Arc::new);
        let folder = repository.config_path().and_then(Path::parent);
        let roles = Roles::of(lm.config(), folder, codec.clone(), &speller).map(Arc::new);
        let weight_bytes = lm_weights.read.get() + mimi_weights.read.get();
        let threads = options.threads.map_or(1, NonZeroUsize::get);
        let info = ModelInfo { notice, weight_bytes, threads, ..describe(&lm, source, repository) };
        let tts = repository.config().tts_config;
        let mut model = Arc::new(Moshi::new(Parts { mimi, lm, words, speller, tts, recognition }, info)?);
        let memory = measure(&model)?;
        if let Some(model) = Arc::get_mut(&mut model) {
            model.tell(memory);
        }
        Ok(Loaded { model: Arc::new(SharedMoshi(model)), codec, transcriber, roles })
    }
}

/// The language model, with adapters to choose from.
fn load_lm<B: Backend>(
    executor: B,
    weights: &dyn WeightSource,
    config: &LmConfig,
    adapters: &[AdapterPath],
) -> Result<Lm<B>, ModelError> {
    let open = |adapter: &AdapterPath| AdapterFile::open(&adapter.path, config).map_err(failed);
    let files = adapters.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let named = adapters.iter().zip(&files).map(|(adapter, source)| NamedAdapter { name: &adapter.name, source });
    Ok(Lm::load_adapted(executor, weights, config, &named.collect::<Vec<_>>())?)
}

/// A codec to lay out alone.
struct LoadCodec<'a> {
    repository: &'a Repository,
    options: &'a LoadOptions,
}

impl OnExecutors for LoadCodec<'_> {
    type Output = Arc<dyn Codec>;

    fn run<B: Backend>(self, executors: Executors<B>) -> Result<Arc<dyn Codec>, EngineError> {
        let Self { repository, options } = self;
        let tensors = repository.mimi().map_err(failed)?;
        let config = repository.mimi_config().map_err(failed)?;
        let codebooks = options.num_codebooks.unwrap_or(DEFAULT_CODEBOOKS.min(config.quantizer.n_q));
        let weights = Weights::new(&tensors, &LoadOptions { dtype: None, ..options.clone() });
        let mimi = Mimi::load(executors.codec, &weights, config, codebooks).map_err(told)?;
        Ok(Arc::new(MimiCodec(Arc::new(mimi))))
    }
}

/// Codebooks of a codec that is loaded alone and not told otherwise: those of Moshi.
const DEFAULT_CODEBOOKS: usize = 8;

fn failed(error: moshi_checkpoint::Error) -> EngineError {
    EngineError::Load(error.to_string())
}

/// The loading was ended by [`LoadOptions::stop`].
#[derive(Debug, thiserror::Error)]
#[error("the loading was stopped")]
struct Stopped;

/// A source that converts matrices on the way and counts the bytes that a step will read.
struct Weights<'a> {
    inner: &'a dyn WeightSource,
    dtype: Option<Dtype>,
    quantize: Option<Plan>,
    threads: NonZeroUsize,
    stop: Stop,
    read: Cell<u64>,
}

impl<'a> Weights<'a> {
    fn new(inner: &'a dyn WeightSource, options: &LoadOptions) -> Self {
        let threads = options.threads.unwrap_or(NonZeroUsize::MIN);
        Self { inner, dtype: options.dtype, quantize: None, threads, stop: options.stop.clone(), read: Cell::new(0) }
    }

    /// Errs when the loading shall end.
    fn go_on(&self) -> moshi_nn::Result<()> {
        if self.stop.is_raised() { Err(moshi_nn::Error::source(Stopped)) } else { Ok(()) }
    }

    /// A matrix as the options want it. What the plan makes integers of is not rounded to the other format first.
    fn converted<'w>(&self, name: &str, weight: HostWeight<'w>) -> moshi_nn::Result<HostWeight<'w>> {
        let plan = self.quantize.filter(|plan| plan.scheme(name, weight.cols()).is_some());
        match (plan, self.dtype) {
            (Some(plan), _) => Ok(plan.apply(name, weight, self.threads)?),
            (None, Some(dtype)) => convert(&weight, dtype),
            (None, None) => Ok(weight),
        }
    }

    /// An embedding table is stored whole, and a step reads a few rows of it.
    fn count(&self, name: &str, bytes: usize) {
        if !name.split('.').any(|part| part.ends_with("emb")) {
            self.read.set(self.read.get() + bytes as u64);
        }
    }
}

impl WeightSource for Weights<'_> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.inner.shape(name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        self.go_on()?;
        let weight = self.inner.matrix(name, rows, cols)?;
        let weight = self.converted(name, weight)?;
        self.count(name, weight.bytes());
        Ok(weight)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        self.go_on()?;
        let values = self.inner.vector(name, shape)?;
        self.count(name, 4 * values.len());
        Ok(values)
    }

    fn has(&self, name: &str) -> bool {
        self.inner.has(name)
    }

    fn low_rank(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<Option<LowRankPair<'_>>> {
        let pair = self.inner.low_rank(name, rows, cols)?;
        self.count(name, pair.as_ref().map_or(0, |pair| pair.down.bytes() + pair.up.bytes()));
        Ok(pair)
    }
}

fn convert(weight: &HostWeight<'_>, dtype: Dtype) -> moshi_nn::Result<HostWeight<'static>> {
    let values = weight.to_f32()?;
    let data = match dtype {
        Dtype::F32 => WeightData::F32(values.into()),
        Dtype::Bf16 => WeightData::Bf16(values.into_iter().map(half::bf16::from_f32).collect::<Vec<_>>().into()),
        Dtype::F16 => WeightData::F16(values.into_iter().map(half::f16::from_f32).collect::<Vec<_>>().into()),
    };
    Ok(HostWeight::new(weight.rows(), weight.cols(), data)?)
}
