//! What a file is, from its first bytes.

use super::{PICKLE, UNPACK};

/// Beginnings of files that say what they are.
const MAGICS: [(&[u8], &str); 20] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself; run `git lfs pull` in that repository, or download the file",
    ),
    (b"GGUF", "a GGUF file"),
    (b"lmgg", "a GGML file, the predecessor of GGUF; take a GGUF or safetensors file"),
    (b"tjgg", "a GGML file, the predecessor of GGUF; take a GGUF or safetensors file"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"PK\x07\x08", "a part of a zip archive that was cut; join the parts, unpack them and give the folder"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5), as Keras and TensorFlow write it; take the .safetensors file"),
    (b"\x93NUMPY", "a NumPy array (.npy); take the .safetensors file"),
    (b"RIFF", "a RIFF (wav) file, which is audio"),
    (b"OggS", "an Ogg file, which is audio"),
    (b"fLaC", "a FLAC file, which is audio"),
    (b"ID3", "an mp3 file, which is audio"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
];

/// How far into a file is looked.
const LOOK: usize = 4096;

/// What a file that is no checkpoint looks like, from its first bytes; `None` when it is nothing well known.
pub(crate) fn by_bytes(bytes: &[u8]) -> Option<String> {
    let start = &bytes[..bytes.len().min(LOOK)];
    if start.is_empty() {
        return Some("an empty file; its download went wrong, or has not begun".to_owned());
    }
    let magic = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, what)| match *what {
        archive if archive.ends_with(" archive") && !archive.contains("empty") => format!("{archive}; {UNPACK}"),
        what => what.to_owned(),
    });
    magic
        .or_else(|| zip(start))
        .or_else(|| binary(start).map(str::to_owned))
        .or_else(|| is_page(start).then(page))
        .or_else(|| is_text(start).then(|| text(start)))
}

/// A zip archive, by what is in it: PyTorch and NumPy write some too.
fn zip(start: &[u8]) -> Option<String> {
    if !start.starts_with(b"PK\x03\x04") {
        return None;
    }
    Some(if holds(start, b".pkl") {
        PICKLE.to_owned()
    } else if holds(start, b".npy") {
        "a NumPy archive (.npz), as MLX and JAX programs write it; take the .safetensors file, or save its arrays with \
         safetensors.numpy.save_file"
            .to_owned()
    } else {
        format!("a zip archive; {UNPACK}")
    })
}

/// Formats without a magic of their own.
fn binary(start: &[u8]) -> Option<&'static str> {
    let at = |index: usize| start.get(index).copied().unwrap_or_default();
    let near = beginning(start);
    if at(0) == 0x80 && (2..=5).contains(&at(1)) {
        return Some(PICKLE);
    }
    if start.get(257..262) == Some(b"ustar") {
        return Some("a tar archive; unpack it and give the folder");
    }
    if start.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite file; take the .safetensors file");
    }
    if is_sentencepiece(start) {
        return Some("a SentencePiece tokenizer, which belongs beside a model; give the model's folder or file");
    }
    if at(0) == 0x08 && at(1) <= 20 && (holds(near, b"onnx") || holds(near, b"pytorch") || at(2) == 0x12) {
        return Some("an ONNX file; take the .safetensors file");
    }
    if (0x81..=0x8f).contains(&at(0)) && (0xa1..=0xbf).contains(&at(1)) && at(2).is_ascii_graphic() {
        return Some("a msgpack file, as Flax writes it; take the .safetensors file");
    }
    if start.len() >= 8 && start.iter().all(|byte| *byte == 0) {
        return Some("a file that begins with zeros only: its download has not finished");
    }
    None
}

/// Whether a file is a SentencePiece model: a message whose first field holds the pieces, the special ones in front.
pub(crate) fn is_sentencepiece(bytes: &[u8]) -> bool {
    let near = beginning(bytes);
    near.first() == Some(&b'\n') && (holds(near, b"<unk>") || holds(near, b"<s>"))
}

/// As much of a file as names and special pieces are looked for in.
fn beginning(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(256)]
}

fn page() -> String {
    "a web page: the download went wrong (the address of a file on the hub has /resolve/ in it, not /blob/)".to_owned()
}

/// Whether it is HTML, or the XML in which storage says that something is wrong.
fn is_page(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&start[..start.len().min(64)]).trim_start().to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}');
    ["<!doctype", "<html", "<head", "<?xml", "<error"].iter().any(|tag| text.starts_with(tag))
}

fn text(start: &[u8]) -> String {
    format!("a text file that begins {:?}", String::from_utf8_lossy(&start[..start.len().min(40)]).trim())
}

/// Whether the beginning is printable text, as no header length below a petabyte is.
fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(64)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // Cut in the middle of a character.
        Err(e) if e.error_len().is_none() => return is_text(&start[..e.valid_up_to()]),
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace())
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
