//! Text files that people write: configurations, keys, certificates.
//!
//! Editors may put a byte order mark in front, which says nothing in UTF-8 and is left out here. Other encodings are
//! refused by name: read as UTF-8 they would be errors about strange characters that nobody sees in an editor.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read: one that was named by mistake must not fill the memory.
const LARGEST: u64 = 4 << 20;
/// U+FEFF in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A file in UTF-8, without its byte order mark.
///
/// # Errors
/// When it cannot be read, is larger than 4 MiB, or is not UTF-8; then the error says what it seems to be.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count();
        wrong(&format!("line {line} is not UTF-8"))
    })
}

/// As [`read`], for a file that may hold other bytes between its texts, such as a PEM file with comments.
///
/// # Errors
/// As [`read`], but only UTF-16 and UTF-32 are refused.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let text = format!("it has more than {} MiB; is it the right file?", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    if let Some(encoding) = other_encoding(&bytes) {
        return Err(wrong(&format!("it is {encoding}")));
    }
    let start = if bytes.starts_with(MARK) { MARK.len() } else { 0 };
    Ok(bytes.split_off(start))
}

/// A PEM file: files with byte order marks that were joined have them inside too.
///
/// # Errors
/// As [`bytes`].
pub(crate) fn pem(path: &Path) -> io::Result<Vec<u8>> {
    let mut rest = bytes(path)?;
    while let Some(at) = rest.windows(MARK.len()).position(|found| found == MARK) {
        rest.drain(at..at + MARK.len());
    }
    Ok(rest)
}

/// What the first bytes say the file is, where that is not UTF-8. Without a mark, every second byte of ASCII in UTF-16
/// is zero.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [0, 0, 0, _, ..] | [_, 0, 0, 0, ..] => Some("UTF-32 without a byte order mark"),
        [0, _, ..] | [_, 0, ..] => Some("UTF-16 without a byte order mark"),
        _ => None,
    }
}

fn wrong(found: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{found}; save it as UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn utf16(text: &str, mark: &[u8], to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.iter().copied().chain(text.encode_utf16().flat_map(to_bytes)).collect()
    }

    #[test]
    fn a_byte_order_mark_is_left_out_once_in_a_text_and_everywhere_in_a_pem_file() {
        for text in ["", "{}", "ü\n"] {
            assert_eq!(read(written(text.as_bytes()).path()).unwrap(), text);
            assert_eq!(read(written(&[MARK, text.as_bytes()].concat()).path()).unwrap(), text);
        }
        let joined = written(&[MARK, b"one\n", MARK, b"two\xff\n"].concat());
        assert_eq!(pem(joined.path()).unwrap(), b"one\ntwo\xff\n");
    }

    #[test]
    fn other_encodings_are_named() {
        let (text, le, be) = ("{\"port\": 1}", u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes as _);
        let wide = |mark: bool| -> Vec<u8> {
            let start = if mark { 0xfeff_u32 } else { u32::from(b' ') };
            std::iter::once(start).chain(text.chars().map(u32::from)).flat_map(u32::to_le_bytes).collect()
        };
        for (bytes, words) in [
            (utf16(text, b"\xff\xfe", le), "it is UTF-16; save it as UTF-8"),
            (utf16(text, b"\xfe\xff", be), "it is UTF-16; save it as UTF-8"),
            (utf16(text, b"", le), "UTF-16 without a byte order mark"),
            (utf16(text, b"", be), "UTF-16 without a byte order mark"),
            (wide(true), "it is UTF-32;"),
            (wide(false), "UTF-32 without"),
            (b"{\n\"name\": \"M\xfcller\"}".to_vec(), "line 2 is not UTF-8"),
        ] {
            let error = read(written(&bytes).path()).unwrap_err().to_string();
            assert!(error.contains(words), "{words:?} is missing in {error:?}");
        }
    }

    #[test]
    fn what_is_no_file_or_too_large_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err() && read(&folder.path().join("none")).is_err());
        #[cfg(unix)]
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("more than 4 MiB"));
    }
}
