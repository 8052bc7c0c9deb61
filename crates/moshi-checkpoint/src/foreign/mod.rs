//! Files of other programs and damaged ones, recognised so that a message can say what they are and what to do.
//!
//! Nothing here decides whether a file can be read: it is asked when a file could not.

mod bytes;
mod config;
mod names;
mod tensors;

pub(crate) use bytes::{by_bytes, is_sentencepiece};
pub(crate) use config::by_config;
pub(crate) use names::{PROBES, by_name, unfinished};
pub(crate) use tensors::{by_tensors, is_adapter, is_codec};

/// What to take instead of another program's codec.
const CODEC: &str = "take the codec's own file, such as \
                     hf://kyutai/moshiko-pytorch-bf16/tokenizer-e351c8d8-checkpoint125.safetensors";
/// What to take instead of another program's model.
const MODEL: &str = "take a model such as kyutai/moshiko-pytorch-bf16";
/// What to do with a pickle.
const PICKLE: &str = "a PyTorch pickle, which can run code when it is read and is not opened here; save its tensors with \
                      safetensors.torch.save_file, or take a repository that has .safetensors files";
/// What to do with an archive.
const UNPACK: &str = "unpack it and give the folder";
