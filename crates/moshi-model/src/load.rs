//! From an opened repository to a model or codec, on the executor of choice.

use std::num::NonZeroUsize;
use std::sync::Arc;

use mimi::Mimi;
use moshi_checkpoint::Repository;
use moshi_cpu::cores::Cores;
use moshi_engine::{EngineError, SHARED_ABOVE_BYTES};
use moshi_nn::Backend;

use crate::base::{Base, failed};
use crate::codec::MimiCodec;
use crate::error::told;
use crate::registry::{OnExecutor, on_device};
use crate::weights::Weights;
use crate::{Codec, LoadOptions, Loaded};

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
    let (device, cores) = (options.device, Cores::new(threads(repository, &options)));
    let model = LoadModel { repository, source, options, notice };
    on_device(device, cores, model).map_err(EngineError::while_loading)
}

/// As [`load_model`] on an executor at hand, whatever device the options name.
///
/// # Errors
/// As [`load_model`].
pub fn load_model_on<B: Backend>(
    executor: B,
    repository: &Repository,
    source: &str,
    options: &LoadOptions,
) -> Result<Loaded, EngineError> {
    let options = LoadOptions { threads: Some(threads(repository, options)), ..options.clone() };
    LoadModel { repository, source, options, notice: None }.run(executor).map_err(EngineError::while_loading)
}

/// Lays out the codec of an opened repository.
///
/// # Errors
/// As [`load_model`]; also when the file holds fewer codebooks than were asked for.
pub fn load_codec(repository: &Repository, options: &LoadOptions) -> Result<Arc<dyn Codec>, EngineError> {
    let codec = LoadCodec { repository, options };
    on_device(options.device, Cores::new(threads(repository, options)), codec).map_err(EngineError::while_loading)
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

impl OnExecutor for LoadModel<'_> {
    type Output = Loaded;

    fn run<B: Backend>(self, executor: B) -> Result<Loaded, EngineError> {
        let Self { repository, source, options, notice } = self;
        let (base, lm) = Base::open(executor, repository, source, options, notice)?;
        Ok(base.loaded(lm)?)
    }
}

/// A codec to lay out alone.
struct LoadCodec<'a> {
    repository: &'a Repository,
    options: &'a LoadOptions,
}

impl OnExecutor for LoadCodec<'_> {
    type Output = Arc<dyn Codec>;

    fn run<B: Backend>(self, executor: B) -> Result<Arc<dyn Codec>, EngineError> {
        let Self { repository, options } = self;
        let tensors = repository.mimi().map_err(failed)?;
        let config = repository.mimi_config().map_err(failed)?;
        let codebooks = options.num_codebooks.unwrap_or(DEFAULT_CODEBOOKS.min(config.quantizer.n_q));
        let weights = Weights::of_codec(&tensors, options);
        let mimi = Mimi::load(executor, &weights, config, codebooks).map_err(told)?;
        Ok(Arc::new(MimiCodec(Arc::new(mimi))))
    }
}

/// Codebooks of a codec that is loaded alone and not told otherwise: those of Moshi.
const DEFAULT_CODEBOOKS: usize = 8;
