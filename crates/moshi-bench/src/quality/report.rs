//! The comparison of two traces.

use std::fmt;

use moshi_lm::{Forward, LmConfig, Place};
use serde::Serialize;

use super::trace::Trace;

/// How alike two sets of values are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Likeness {
    /// Cosine of the angle between them.
    pub cosine: f64,
    /// Length of the difference over the length of the reference.
    pub relative_error: f64,
}

impl Likeness {
    /// Of `found` to `reference`, wherever both are finite.
    pub fn of(found: &[f32], reference: &[f32]) -> Self {
        let (mut dot, mut length, mut other, mut error) = (0.0, 0.0, 0.0, 0.0);
        for (&f, &r) in found.iter().zip(reference).filter(|(f, r)| f.is_finite() && r.is_finite()) {
            let (f, r) = (f64::from(f), f64::from(r));
            dot += f * r;
            other += f * f;
            length += r * r;
            error += (f - r) * (f - r);
        }
        let cosine = dot / (length * other).sqrt().max(f64::MIN_POSITIVE);
        Self { cosine, relative_error: (error / length.max(f64::MIN_POSITIVE)).sqrt() }
    }
}

/// Logits of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StreamQuality {
    /// Of the logits.
    #[serde(flatten)]
    pub logits: Likeness,
    /// Share of steps whose most likely token is the same.
    pub greedy_agreement: f64,
}

impl StreamQuality {
    fn of(found: &[f32], reference: &[f32], card: usize) -> Self {
        let pairs = found.chunks_exact(card).zip(reference.chunks_exact(card));
        let known: Vec<_> = pairs.filter(|(f, r)| f[0].is_finite() && r[0].is_finite()).collect();
        let same = known.iter().filter(|(f, r)| largest(f) == largest(r)).count();
        Self { logits: Likeness::of(found, reference), greedy_agreement: same as f64 / known.len().max(1) as f64 }
    }
}

fn largest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

/// A checkpoint beside its own single precision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityReport {
    /// What was compared.
    pub model: String,
    /// Frames of the conversation.
    pub frames: usize,
    /// The text stream.
    pub text: StreamQuality,
    /// All codebooks together.
    pub audio: Option<StreamQuality>,
    /// Each codebook.
    pub codebooks: Vec<StreamQuality>,
    /// The stream behind each layer of the temporal transformer.
    pub temporal_layers: Vec<Likeness>,
    /// The stream behind the last layer of the depth transformer, for each codebook.
    pub depth_steps: Vec<Likeness>,
}

impl QualityReport {
    /// Compares two passes over one conversation.
    pub(super) fn new(model: String, config: &LmConfig, found: &Trace, reference: &Trace) -> Self {
        let (f, r): (&Forward, &Forward) = (&found.logits, &reference.logits);
        let per_codebook = r.steps * config.card;
        let book = |k: usize| k * per_codebook..(k + 1) * per_codebook;
        let audio = |range: std::ops::Range<usize>| {
            StreamQuality::of(&f.audio_logits[range.clone()], &r.audio_logits[range], config.card)
        };
        let likeness = |place: &Place, values: &[f32]| {
            found.places.get(place).map_or(Likeness { cosine: 0.0, relative_error: 1.0 }, |f| Likeness::of(f, values))
        };
        let layers = |which: &dyn Fn(&Place) -> bool| -> Vec<Likeness> {
            reference.places.iter().filter(|(p, _)| which(p)).map(|(p, values)| likeness(p, values)).collect()
        };
        let last = config.depformer.as_ref().map_or(0, |depth| depth.num_layers.saturating_sub(1));
        Self {
            model,
            frames: r.steps,
            text: StreamQuality::of(&f.text_logits, &r.text_logits, config.text_card_out),
            audio: (config.dep_q > 0).then(|| audio(0..config.dep_q * per_codebook)),
            codebooks: (0..config.dep_q).map(|k| audio(book(k))).collect(),
            temporal_layers: layers(&|p| matches!(p, Place::Temporal { .. })),
            depth_steps: layers(&|p| matches!(p, Place::Depth { layer, .. } if *layer == last)),
        }
    }
}

impl fmt::Display for QualityReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = |f: &mut fmt::Formatter<'_>, name: &str, q: &StreamQuality| {
            let Likeness { cosine, relative_error } = q.logits;
            writeln!(f, "{name:<18} {cosine:>10.6} {relative_error:>12.6} {:>8.1} %", 100.0 * q.greedy_agreement)
        };
        writeln!(f, "{} beside its own single precision, {} frames", self.model, self.frames)?;
        writeln!(f, "{:<18} {:>10} {:>12} {:>10}", "logits", "cosine", "rel. error", "same token")?;
        stream(f, "text", &self.text)?;
        if let Some(audio) = &self.audio {
            stream(f, "audio", audio)?;
        }
        for (k, q) in self.codebooks.iter().enumerate() {
            stream(f, &format!("  codebook {k}"), q)?;
        }
        let lists = [("temporal layer", &self.temporal_layers), ("depth step", &self.depth_steps)];
        for (name, list) in lists {
            for (i, Likeness { cosine, relative_error }) in list.iter().enumerate() {
                write!(f, "\n{:<18} {cosine:>10.6} {relative_error:>12.6}", format!("{name} {i}"))?;
            }
        }
        Ok(())
    }
}
