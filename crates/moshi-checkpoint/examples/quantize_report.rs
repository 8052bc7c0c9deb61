//! What choosing scales by error gains over choosing them by range, and how fast it is.
//!
//! ```text
//! cargo run --release --example quantize_report -- [MODEL.safetensors [TENSOR]]
//! ```
//!
//! Without a model it takes random weights: normal, and with the heavier tails (Student's t, four degrees of freedom)
//! that trained matrices have.

use std::error::Error;
use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Instant;

use half::bf16;
use moshi_checkpoint::Tensors;
use moshi_checkpoint::quantize::{Scheme, Search, quantize};
use moshi_tensor::weight::{HostWeight, WeightData};

const ROWS: usize = 1024;
const COLS: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(model) = arguments.next() else {
        report("normal", &random(1)?)?;
        return report("Student t, 4", &random(4)?);
    };
    let tensors = Tensors::open(model.as_ref())?;
    let wanted = arguments.next();
    for name in tensors.names().filter(|name| wanted.as_deref().is_none_or(|w| w == *name)) {
        if let Some(&[rows, cols]) = tensors.shape(name) {
            report(name, &tensors.matrix(name, rows, cols)?)?;
        }
    }
    Ok(())
}

fn report(name: &str, weight: &HostWeight<'_>) -> Result<(), Box<dyn Error>> {
    let schemes = [
        ("int8 rows", Scheme::Int8Rows),
        ("Q8_0", Scheme::Q8_0),
        ("Q4_0", Scheme::Q4_0),
        ("MLX q8 64", Scheme::MlxQ8 { group: 64 }),
        ("MLX q4 32", Scheme::MlxQ4 { group: 32 }),
    ];
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}: {} x {}", weight.rows(), weight.cols())?;
    for (label, scheme) in schemes.into_iter().filter(|(_, scheme)| scheme.fits(weight.cols())) {
        let (range, _) = measure(weight, scheme, Search::Range)?;
        let (error, rate) = measure(weight, scheme, Search::Error)?;
        writeln!(
            out,
            "  {label:10} relative error by range {:.3} %, by search {:.3} % (squared: {:+.1} %), {rate:.0} M weights/s",
            100.0 * range.sqrt(),
            100.0 * error.sqrt(),
            100.0 * (error / range - 1.0),
        )?;
    }
    Ok(())
}

/// The squared error over the squared weights, and millions of weights a second on one thread.
fn measure(weight: &HostWeight<'_>, scheme: Scheme, search: Search) -> Result<(f64, f64), Box<dyn Error>> {
    let exact = weight.to_f32()?;
    let mut fastest = f64::INFINITY;
    let mut rounded = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let quantized = quantize(weight, scheme, search, NonZeroUsize::MIN)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
        rounded = quantized.to_f32()?;
    }
    let error: f64 = exact.iter().zip(&rounded).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = exact.iter().map(|a| f64::from(*a).powi(2)).sum();
    Ok((error / size, exact.len() as f64 / fastest / 1e6))
}

/// Weights in bf16: normal for one degree, heavier tails for more.
fn random(degrees: u64) -> Result<HostWeight<'static>, Box<dyn Error>> {
    let mut state = 1u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f64 + 0.5) / (1u64 << 24) as f64
    };
    let mut normal = move || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    let mut value = move || match degrees {
        1 => normal(),
        n => normal() / ((0..n).map(|_| normal().powi(2)).sum::<f64>() / n as f64).sqrt(),
    };
    let values: Vec<bf16> = (0..ROWS * COLS).map(|_| bf16::from_f64(0.02 * value())).collect();
    Ok(HostWeight::new(ROWS, COLS, WeightData::Bf16(values.into()))?)
}
