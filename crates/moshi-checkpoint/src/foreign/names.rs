//! What a file is, from its name alone.

use std::path::Path;

use super::PICKLE;

/// Names that tell what a repository of the hub is, where its language model was not found.
pub(crate) const PROBES: [&str; 6] = [
    "adapter_config.json",
    "model_index.json",
    "modules.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "flax_model.msgpack",
];

/// What a whole name says.
const NAMES: [(&str, &str); 9] = [
    ("adapter_config.json", ADAPTER),
    ("adapter_model.safetensors", ADAPTER),
    (
        "lora.safetensors",
        "a LoRA adapter, which needs the model that it was made for: name that as \"moshi_name\" in config.json",
    ),
    ("model_index.json", "a model of diffusers, which makes pictures or sounds"),
    ("modules.json", "a model of sentence-transformers, which reads text alone"),
    ("config_sentence_transformers.json", "a model of sentence-transformers, which reads text alone"),
    ("pytorch_model.bin.index.json", PICKLE),
    ("saved_model.pb", "a model of TensorFlow; take the .safetensors file"),
    ("weights.npz", "a NumPy archive, as MLX programs write it; take the .safetensors file"),
];

const ADAPTER: &str = "a LoRA adapter of PEFT for another program's model; adapters of Moshi's own fine-tuning \
                       (lora.safetensors) can be read";

/// What an ending says.
const ENDINGS: [(&[&str], &str); 6] = [
    (&["bin", "pt", "pth", "th", "ckpt", "pkl", "pickle"], PICKLE),
    (&["onnx"], "an ONNX file; take the .safetensors file"),
    (&["h5", "keras", "pb", "tflite"], "a file of TensorFlow; take the .safetensors file"),
    (&["msgpack"], "a file of Flax; take the .safetensors file"),
    (&["npz", "npy"], "arrays of NumPy; take the .safetensors file"),
    (
        &["zip", "tar", "tgz", "gz", "xz", "bz2", "zst", "7z", "rar"],
        "an archive; unpack it here, or give the folder that it becomes",
    ),
];

/// Endings that programs give to what they have not finished.
const UNFINISHED: [&str; 9] =
    ["part", "partial", "incomplete", "crdownload", "download", "opdownload", "aria2", "tmp", "!qb"];

/// What a file that cannot be a model is, and what to do with it; `None` when its name says nothing of the kind.
pub(crate) fn by_name(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let known = NAMES.iter().find(|(known, _)| *known == lower).map(|(_, what)| (*what).to_owned());
    let ending = lower.rsplit_once('.').map_or("", |(_, ending)| ending);
    let by_ending =
        || ENDINGS.iter().find(|(endings, _)| endings.contains(&ending)).map(|(_, what)| (*what).to_owned());
    known.or_else(|| unfinished(Path::new(name))).or_else(by_ending)
}

/// Why a file cannot be whole, as far as its name and its neighbours tell.
pub(crate) fn unfinished(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let (stem, ending) = name.rsplit_once('.')?;
    let lower = ending.to_ascii_lowercase();
    if UNFINISHED.contains(&lower.as_str()) {
        return Some(format!(
            "a download that has not finished, by its name (.{ending}); let it finish, or rename the file if it is whole"
        ));
    }
    if is_piece(&lower) {
        return Some(format!(
            "one piece of a file that was cut, by its name (.{ending}); join the pieces in their order \
             (`cat {stem}.* > {stem}`)"
        ));
    }
    let control = path.with_file_name(format!("{name}.aria2"));
    control.exists().then(|| format!("a download that has not finished: {name}.aria2 lies beside it"))
}

/// What programs that cut files number the pieces with: 001, z01, partaa, part1.
fn is_piece(ending: &str) -> bool {
    let digits = |s: &str, least: usize| s.len() >= least && s.bytes().all(|b| b.is_ascii_digit());
    digits(ending, 3)
        || ending.strip_prefix('z').is_some_and(|rest| digits(rest, 2))
        || ending.strip_prefix("part").is_some_and(|rest| !rest.is_empty() && rest != "ial")
}
