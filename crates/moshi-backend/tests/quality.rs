//! `quality` and `bench --shape` as their users call them.

// Helpers of tests are tests too: clippy's own exception reaches only functions marked #[test].
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs the program and returns the JSON report that it writes.
fn report(args: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let program = Command::new(env!("CARGO_BIN_EXE_moshi-backend"))
        .args(args)
        .args(["--threads", "1", "--json", json.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(program.status.success(), "{args:?}: {}", String::from_utf8_lossy(&program.stderr));
    serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
}

#[test]
fn every_golden_format_keeps_close_to_its_own_single_precision() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden/tiny-moshi");
    let formats = [
        ("model.safetensors", 0.9999),
        ("model.torch.q8.safetensors", 0.999),
        ("model.q8.gguf", 0.999),
        ("model.mlx.q8.safetensors", 0.999),
        ("model.mlx.q4.safetensors", 0.99),
    ];
    for (file, least) in formats {
        let path = golden.join(file);
        let report =
            report(&["quality", golden.to_str().unwrap(), "--frames", "12", "--lm-file", path.to_str().unwrap()]);
        for stream in ["text", "audio"] {
            let cosine = report[stream]["cosine"].as_f64().unwrap();
            assert!(cosine >= least, "{file} {stream}: cosine {cosine}");
        }
        let layers = report["temporal_layers"].as_array().unwrap();
        assert!(!layers.is_empty() && layers.iter().all(|l| l["cosine"].as_f64().unwrap() >= least), "{file}");
        assert!(!report["depth_steps"].as_array().unwrap().is_empty(), "{file}");
    }
}

#[test]
fn a_shape_is_measured_without_any_file() {
    let report = report(&["bench", "--shape", "mimi", "--quantize", "bf16", "--frames", "2", "--parts"]);
    let positive = ["machine_gbps", "weight_bytes", "bandwidth_share", "load_s", "rss_bytes", "state_bytes"];
    for key in positive {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
    let p = |key: &str| report["step_ms"][key].as_f64().unwrap();
    assert!(p("p50") > 0.0 && p("p50") <= p("p95") && p("p95") <= p("p99"));
    assert!(report["parts_ms"]["codec"].as_f64().unwrap() > 0.0);
    assert!(report["arithmetic"].is_null(), "how many multiply-adds the codec takes is not counted");
}
