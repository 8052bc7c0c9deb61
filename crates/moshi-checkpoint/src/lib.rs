//! From a repository, folder or file to named tensors.
//!
//! This crate is the only place that knows file layouts and foreign tensor names. Whatever the layout, the model code
//! asks for *canonical* names, which are those of the newest PyTorch checkpoints:
//! `transformer.layers.{i}.self_attn.{in,out}_projs.0.weight`, `depformer.layers.{l}.self_attn.{in,out}_projs.{j}.weight`,
//! `depformer.layers.{l}.gating.{j}.linear_{in,out}.weight`, `emb.{q}.weight`, `text_emb.weight`, `depformer_in.{j}.weight`,
//! `depformer_emb.{k}.weight`, `depformer_text_emb.weight`, `linears.{k}.weight`, `out_norm.alpha`, ... and the Mimi names of
//! the published codec file. Attention projections with one weight set also answer to their older spelling
//! (`self_attn.in_proj_weight`, `self_attn.out_proj.weight`).
//!
//! Quantized weights stay as the files hold them: int8 with row scales (PyTorch), groups with scales and biases (MLX),
//! blocks of two to eight bits (GGUF). The low-rank adapter that a configuration names is merged when a matrix is asked for, and kept
//! apart from a quantized one.
//!
//! ```no_run
//! use moshi_checkpoint::{OpenOptions, Repository, Source};
//! let repo = Repository::open(&Source::parse("path/to/model")?, &OpenOptions::default(), &mut ())?;
//! let dim = repo.config().lm.dim;
//! let norm = repo.lm()?.vector("out_norm.alpha", &[dim])?;
//! # Ok::<(), moshi_checkpoint::Error>(())
//! ```

mod adapter;
pub mod config;
mod entry;
mod error;
pub mod export;
mod file;
mod foreign;
mod gguf;
pub mod hub;
mod hub_source;
mod invented;
mod layouts;
mod locate;
mod lora;
mod mimi_names;
mod names;
mod part_name;
mod presence;
pub mod quantize;
mod quantized;
pub mod random;
mod repository;
pub mod save;
mod shapes;
mod source;
mod stop;
mod tensors;
mod voice;

pub use adapter::AdapterFile;
pub use config::{LmConfig, MimiConfig, ModelConfig};
pub use error::{Error, Result};
pub use hub::{HubError, HubOptions, Progress};
pub use hub_source::HubSource;
pub use invented::{Invented, Numbers};
pub use layouts::Layout;
pub use mimi_names::mimi_tensors;
pub use names::{TensorSpec, lm_tensors};
pub use repository::{EmbeddedRepository, OpenOptions, Parts, Repository};
pub use source::Source;
pub use stop::Stop;
pub use tensors::Tensors;
pub use voice::{SpeakerFile, VoiceFile};
