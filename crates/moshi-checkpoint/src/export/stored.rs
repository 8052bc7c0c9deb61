//! How tensors are written: which gets which number format, and its bytes.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use half::{bf16, f16};
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

use super::format::{Export, Numbers, WriteLayout};
use crate::names::TensorSpec;
use crate::quantize::{Part, Scheme, Search, quantize};
use crate::save::{Format, le_bytes, problem};
use crate::{Error, Result, Tensors};

/// How one tensor is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Float(Format),
    /// In safetensors, or in blocks of GGUF.
    Integers(Scheme),
}

/// The entries that a tensor's numbers are divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Weight,
    RowScales,
    Scales,
    Biases,
}

impl Role {
    /// The entry's name, given that of the weight.
    pub(super) fn name(self, weight: &str) -> String {
        let stem = weight.strip_suffix("weight").unwrap_or(weight);
        match self {
            Self::Weight => weight.to_owned(),
            Self::RowScales => format!("{weight}_scb"),
            Self::Scales => format!("{stem}scales"),
            Self::Biases => format!("{stem}biases"),
        }
    }
}

impl Stored {
    /// The format of `spec`, checked against what the file holds.
    pub(super) fn choose(tensors: &Tensors, spec: &TensorSpec, export: &Export) -> Result<Self> {
        let cols = spec.shape.iter().skip(1).product();
        let weight = weight(tensors, &spec.name)?;
        // Integers with an adapter were merged to floats, but are rounded all the same.
        let float = Format::of(weight.data()).filter(|_| !tensors.is_quantized(&spec.name));
        let kept = scheme_of(weight.data()).filter(|scheme| held_by(*scheme, export.layout));
        let matrix = spec.shape.len() == 2;
        let scheme = if matrix { wanted(export.numbers, &spec.name, cols) } else { None };
        let stored = match (export.numbers, scheme) {
            (_, Some(scheme)) => Self::Integers(scheme),
            (Numbers::F32, _) => Self::Float(Format::F32),
            (Numbers::F16, _) => Self::Float(Format::F16),
            (Numbers::Bf16, _) => Self::Float(Format::Bf16),
            (Numbers::Keep, _) if kept.is_some() => kept.map_or(Self::Float(Format::F32), Self::Integers),
            _ if export.layout == WriteLayout::Gguf && (!matrix || export.numbers != Numbers::Keep) => {
                Self::Float(Format::F32)
            }
            _ => Self::Float(float.unwrap_or(Format::F32)),
        };
        let exact = match stored {
            Self::Float(Format::F32) => true,
            Self::Float(_) => float.is_some(),
            Self::Integers(scheme) => float.is_some() || kept == Some(scheme),
        };
        if exact || export.requantize {
            return Ok(stored);
        }
        Err(Error::Requantize {
            path: tensors.paths().next().map(Into::into).unwrap_or_default(),
            name: spec.name.clone(),
            found: tensors.dtype(&spec.name).unwrap_or_default(),
            wanted: export.numbers.to_string(),
        })
    }

    /// The entries' roles, formats and shapes; GGUF blocks have no format of their own.
    pub(super) fn outlines(self, shape: &[usize]) -> Vec<(Role, Format, Vec<usize>)> {
        let rows = shape.first().copied().unwrap_or(1);
        let cols: usize = shape.iter().skip(1).product();
        match self {
            Self::Float(format) => vec![(Role::Weight, format, shape.to_vec())],
            Self::Integers(Scheme::Int8Rows) => {
                vec![(Role::Weight, Format::I8, shape.to_vec()), (Role::RowScales, Format::F32, vec![rows])]
            }
            Self::Integers(scheme) => {
                let groups = vec![rows, cols / scheme.group().unwrap_or(cols).max(1)];
                vec![
                    (Role::Weight, Format::U32, vec![rows, cols * scheme.bits() / 32]),
                    (Role::Scales, Format::Bf16, groups.clone()),
                    (Role::Biases, Format::Bf16, groups),
                ]
            }
        }
    }

    /// The bytes of a tensor's entries.
    pub(super) fn encode(self, weight: &HostWeight<'_>, threads: NonZeroUsize) -> Result<Vec<(Role, Vec<u8>)>> {
        let bytes = |data: WeightData<'_>| le_bytes(&data).map(Cow::into_owned).unwrap_or_default();
        let scheme = match self {
            Self::Float(format) if Format::of(weight.data()) == Some(format) => {
                return Ok(vec![(Role::Weight, bytes(weight.data().clone()))]);
            }
            Self::Float(format) => {
                let values = weight.to_f32()?;
                let data = match format {
                    Format::F16 => WeightData::F16(values.into_iter().map(f16::from_f32).collect()),
                    Format::Bf16 => WeightData::Bf16(values.into_iter().map(bf16::from_f32).collect()),
                    _ => WeightData::F32(values.into()),
                };
                return Ok(vec![(Role::Weight, bytes(data))]);
            }
            Self::Integers(scheme) => scheme,
        };
        let made;
        let weight = if scheme_of(weight.data()) == Some(scheme) {
            weight
        } else {
            made = quantize(weight, scheme, Search::Error, threads)?;
            &made
        };
        let floats = |values: &[f32]| values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        Ok(match weight.data() {
            WeightData::Int8 { values, scales } => {
                let largest = scales.iter().flat_map(|scale| row_scale(*scale).to_le_bytes()).collect();
                vec![(Role::Weight, bytemuck::cast_slice(values).to_vec()), (Role::RowScales, largest)]
            }
            WeightData::Grouped(g) if matches!(scheme, Scheme::Q8_0 | Scheme::Q4_0) => {
                vec![(Role::Weight, blocks(g))]
            }
            WeightData::Grouped(g) => vec![
                (Role::Weight, g.packed.to_vec()),
                (Role::Scales, floats(&g.scales)),
                (Role::Biases, floats(&g.biases)),
            ],
            _ => return Err(problem("a tensor", "it was not quantized")),
        })
    }
}

/// A tensor as its file holds it, whatever its shape, with its adapter.
pub(super) fn weight<'a>(tensors: &'a Tensors, name: &str) -> Result<HostWeight<'a>> {
    let entry = tensors.need(name)?;
    let shape = &entry.raw.shape;
    tensors.merged(entry, shape.first().copied().unwrap_or(1), shape.iter().skip(1).product())
}

/// The largest weight of a row, of which a 127th is exactly `scale` again.
fn row_scale(scale: f32) -> f32 {
    let near = 127.0 * scale;
    let around = [near, near.next_up(), near.next_down(), near.next_up().next_up(), near.next_down().next_down()];
    around.into_iter().find(|largest| largest / 127.0 == scale).unwrap_or(near)
}

/// The scheme that a matrix of a quantized model gets; `None` is a float.
fn wanted(numbers: Numbers, name: &str, cols: usize) -> Option<Scheme> {
    let part = Part::of(name);
    // A table's low-rank half is a linear layer.
    let table = part == Part::Embedding && !name.contains("low_rank");
    let scheme = match numbers {
        Numbers::Q4_0 if part == Part::Temporal => Scheme::Q4_0,
        Numbers::Q8_0 | Numbers::Q4_0 => Scheme::Q8_0,
        Numbers::Int8Rows if !table => Scheme::Int8Rows,
        Numbers::MlxQ8 => return Some(Scheme::MlxQ8 { group: 64 }),
        Numbers::MlxQ4 => return Some(Scheme::MlxQ4 { group: 32 }),
        _ => return None,
    };
    Some(scheme).filter(|scheme| scheme.fits(cols))
}

/// The scheme of stored integers, where it is one that can be written.
fn scheme_of(data: &WeightData<'_>) -> Option<Scheme> {
    let short = |values: &[f32]| values.iter().all(|x| bf16::from_f32(*x).to_f32() == *x);
    let half = |values: &[f32]| values.iter().all(|x| f16::from_f32(*x).to_f32() == *x);
    match data {
        WeightData::Int8 { .. } => Some(Scheme::Int8Rows),
        WeightData::Grouped(g) => match g.quants {
            Quants::I8 if g.group == 32 && half(&g.scales) => Some(Scheme::Q8_0),
            Quants::U4 if g.group == 32 && half(&g.scales) && centred(g) => Some(Scheme::Q4_0),
            Quants::U4 if short(&g.scales) && short(&g.biases) => Some(Scheme::MlxQ4 { group: g.group }),
            Quants::U8 if short(&g.scales) && short(&g.biases) => Some(Scheme::MlxQ8 { group: g.group }),
            _ => None,
        },
        _ => None,
    }
}

fn centred(g: &Grouped<'_>) -> bool {
    g.scales.iter().zip(&*g.biases).all(|(scale, bias)| *bias == -8.0 * scale)
}

fn held_by(scheme: Scheme, layout: WriteLayout) -> bool {
    match scheme {
        Scheme::Int8Rows => layout == WriteLayout::PyTorch,
        Scheme::Q8_0 | Scheme::Q4_0 => layout == WriteLayout::Gguf,
        Scheme::MlxQ8 { .. } | Scheme::MlxQ4 { .. } => layout == WriteLayout::Mlx,
    }
}

/// Blocks of GGUF: a half-precision scale, then 32 integers; of four bits, the first half of them in lower halves.
fn blocks(g: &Grouped<'_>) -> Vec<u8> {
    let bytes = 32 * g.quants.bits() / 8;
    let mut out = Vec::with_capacity(g.scales.len() * (2 + bytes));
    for (scale, packed) in g.scales.iter().zip(g.packed.chunks_exact(bytes)) {
        out.extend(f16::from_f32(*scale).to_le_bytes());
        if g.quants == Quants::U4 {
            let weight = |i: usize| packed[i / 2] >> (4 * (i % 2)) & 15;
            out.extend((0..16).map(|i| weight(i) | weight(i + 16) << 4));
        } else {
            out.extend_from_slice(packed);
        }
    }
    out
}

/// MLX programs read one group size for a whole file: 32 where 64 does not fit every row.
///
/// # Errors
/// [`Error::Write`] for rows that are no whole groups of 32.
pub(super) fn one_group(items: &mut [(Vec<String>, Stored, TensorSpec)], export: &Export) -> Result<()> {
    let cols = |spec: &TensorSpec| spec.shape.last().copied().unwrap_or(0);
    let fits = |group: usize, (_, stored, spec): &(Vec<String>, Stored, TensorSpec)| {
        !matches!(stored, Stored::Integers(_)) || cols(spec).is_multiple_of(group)
    };
    if !matches!(export.numbers, Numbers::MlxQ8 | Numbers::MlxQ4) {
        return Ok(());
    }
    if let Some((_, _, spec)) = items.iter().find(|item| !fits(32, item)) {
        return Err(problem(&spec.name, &format!("its rows of {} are no whole groups of 32", cols(spec))));
    }
    let group = if export.numbers == Numbers::MlxQ8 && items.iter().all(|item| fits(64, item)) { 64 } else { 32 };
    for (_, stored, _) in items {
        if let Stored::Integers(Scheme::MlxQ8 { group: g } | Scheme::MlxQ4 { group: g }) = stored {
            *g = group;
        }
    }
    Ok(())
}
