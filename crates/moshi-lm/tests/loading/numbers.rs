//! Every member in integers of eight and of four bits stays near to itself.

use std::num::NonZeroUsize;

use moshi_checkpoint::export::{Export, Numbers, WriteLayout, write_model};
use moshi_checkpoint::quantize::{Plan, Quantize};
use moshi_checkpoint::{Parts, Tensors};
use moshi_lm::Forward;
use moshi_nn::{HostWeight, WeightSource};

use crate::{Derived, FAMILY, MOSHI, Member, without};

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[track_caller]
fn assert_near(what: &str, found: &Forward, expected: &Forward, least: f64) {
    let finite = |logits: &[f32]| logits.iter().copied().filter(|x| x.is_finite()).collect::<Vec<_>>();
    for (part, found, expected) in [
        ("text", finite(&found.text_logits), finite(&expected.text_logits)),
        ("audio", finite(&found.audio_logits), finite(&expected.audio_logits)),
    ] {
        let near = if expected.is_empty() { 1.0 } else { cosine(&found, &expected) };
        assert!(near >= least, "{what}: {part} at cosine {near}");
    }
}

/// Tensors that are made integers while they are loaded.
struct Quantized(Tensors, Plan);

impl WeightSource for Quantized {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        WeightSource::shape(&self.0, name)
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        Ok(self.1.apply(name, WeightSource::matrix(&self.0, name, rows, cols)?, NonZeroUsize::MIN)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        WeightSource::vector(&self.0, name, shape)
    }
}

#[test]
fn every_member_made_integers_while_it_is_loaded_stays_near_to_itself() {
    for member in FAMILY {
        let (original, expected) = (member.open(), member.forward(&member.open()));
        for (quantize, least) in [(Quantize::Q8, 0.999), (Quantize::Q4, 0.99)] {
            let source = Quantized(original.lm().unwrap(), Plan::from(quantize));
            let found = member.forward_of(&source, &original.config().lm);
            assert_near(&format!("{} in {quantize}", member.name()), &found, &expected, least);
        }
    }
}

/// Checks a member in a file of another number format.
fn assert_file_near(member: &Member, layout: WriteLayout, numbers: Numbers, least: f64) {
    let export = Export { layout, numbers, requantize: false, threads: NonZeroUsize::MIN };
    let made = Derived::new().config(&without(member.config_json(), &["moshi_name"]));
    write_model(&member.open(), &made.path(export.file_name()), &export, &mut |_, _| ()).unwrap();
    let found = member.forward(&made.open(Parts::LM));
    assert_near(&format!("{} as {numbers}", member.name()), &found, &member.forward(&member.open()), least);
}

#[test]
fn every_member_in_a_file_of_bytes_stays_near_to_itself() {
    for member in FAMILY {
        assert_file_near(&member, WriteLayout::PyTorch, Numbers::Int8Rows, 0.999);
    }
}

#[test]
fn files_of_groups_stay_near_to_the_model() {
    // The member whose rows are whole groups, as those of published sizes are.
    for (layout, numbers, least) in [
        (WriteLayout::Mlx, Numbers::MlxQ8, 0.999),
        (WriteLayout::Gguf, Numbers::Q8_0, 0.999),
        (WriteLayout::Gguf, Numbers::Q4_0, 0.99),
        // Depth transformer, heads and tables in four bits too, as other programs do: that costs more.
        (WriteLayout::Mlx, Numbers::MlxQ4, 0.97),
    ] {
        assert_file_near(&MOSHI, layout, numbers, least);
    }
}
