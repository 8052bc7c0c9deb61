//! Audio files: WAV and whatever else the beginning of a file may claim to be.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use moshi_audio::AudioFile;

/// Samples after which a file has been read enough: a header may claim hours.
const ENOUGH: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let path = path();
    if std::fs::write(&path, bytes).is_err() {
        return;
    }
    let Ok(mut file) = AudioFile::open(&path) else { return };
    let (mut pcm, mut read) = (Vec::new(), 0);
    while read < ENOUGH && file.read_block(&mut pcm).unwrap_or(false) {
        read += pcm.len().max(1);
        pcm.clear();
    }
});

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("rustymoshi-fuzz-{}", std::process::id()))
}
