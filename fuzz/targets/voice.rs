//! Voices of role-plays: the pickle in an archive whose checksums are right, and the bytes as an archive.
#![no_main]

use std::io::{Cursor, Write};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use moshi_checkpoint::VoiceFile;
use zip::write::{SimpleFileOptions, ZipWriter};

/// As many numbers as the seed's tensors have.
const STORED: [u8; 4096] = [1; 4096];

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("voice.pt");
    let _ = VoiceFile::from_bytes(path, bytes);
    if let Ok(archive) = archive(bytes) {
        let _ = VoiceFile::from_bytes(path, &archive);
    }
});

fn archive(pickle: &[u8]) -> zip::result::ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("v/data.pkl", pickle), ("v/data/0", &STORED), ("v/data/1", &STORED)] {
        zip.start_file(name, stored)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}
