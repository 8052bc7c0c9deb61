//! A checkpoint's file with everything in it read.

use std::path::PathBuf;

use moshi_checkpoint::Tensors;

/// Opens a file with these bytes and reads all that it names; an error is a fine answer.
pub fn read_all(bytes: &[u8]) {
    let path = path();
    if std::fs::write(&path, bytes).is_err() {
        return;
    }
    let Ok(tensors) = Tensors::open(&path) else { return };
    let names: Vec<String> = tensors.names().map(str::to_owned).collect();
    for name in names {
        let shape = tensors.shape(&name).unwrap_or_default().to_vec();
        let _ = (tensors.dtype(&name), tensors.bytes(&name).map(<[u8]>::len));
        let _ = tensors.vector(&name, &shape);
        if let [rows, cols] = shape[..] {
            let _ = tensors.matrix(&name, rows, cols);
        }
    }
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("rustymoshi-fuzz-{}", std::process::id()))
}
