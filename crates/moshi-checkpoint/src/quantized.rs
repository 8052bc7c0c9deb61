//! Quantized entries: the scales that belong to them, and their numbers.

use std::borrow::Cow;

use half::{bf16, f16};
use moshi_tensor::weight::{Grouped, Quants, WeightData};
use safetensors::Dtype;

use crate::entry::{Entry, Scales};
use crate::file::Number;
use crate::tensors::Tensors;
use crate::{Error, Result};

impl Tensors {
    /// `entry` with its scales, if it is quantized, and the shape of the matrix it stands for, which has `cols` columns.
    pub(crate) fn with_scales(&self, entry: &Entry, cols: usize) -> Result<Entry> {
        let entry = entry.clone();
        match (entry.raw.number, entry.raw.shape.as_slice()) {
            (Number::Plain(Dtype::I8), &[rows, _]) => {
                let scales = self.scales_of(&entry, &format!("{}_scb", entry.name), &[rows])?;
                Ok(Entry { scales: Scales::Rows(scales), ..entry })
            }
            (Number::Plain(Dtype::U32), &[rows, words]) => self.with_groups(entry, [rows, words], cols),
            _ => Ok(entry),
        }
    }

    fn with_groups(&self, mut entry: Entry, [rows, words]: [usize; 2], cols: usize) -> Result<Entry> {
        let bits = words.checked_mul(32).filter(|bits| cols > 0 && bits % cols == 0).map(|bits| bits / cols);
        let quants = match bits {
            Some(8) => Quants::U8,
            Some(4) => Quants::U4,
            Some(bits @ 2..=6) => {
                return Err(Error::Layout {
                    path: self.path_of(&entry),
                    layout: format!("MLX q{bits} ({:?})", entry.name),
                    advice: "use q8, q4 or bf16 files".to_owned(),
                });
            }
            _ => return Err(self.wrong_shape(&entry, &[rows, cols / 4])),
        };
        let stem = entry.name.strip_suffix("weight").unwrap_or(&entry.name);
        let (scales, biases) = (format!("{stem}scales"), format!("{stem}biases"));
        let groups = self.raw_entry(&scales).and_then(|e| e.raw.shape.get(1).copied()).unwrap_or(0);
        let group = cols.checked_div(groups).filter(|g| g.is_power_of_two() && *g >= 8 && g * groups == cols);
        let group = group.unwrap_or(64); // which is what the scales are then expected to have
        let shape = [rows, cols / group];
        let scales = self.scales_of(&entry, &scales, &shape)?;
        let biases = self.scales_of(&entry, &biases, &shape)?;
        entry.raw.shape = vec![rows, cols];
        Ok(Entry { scales: Scales::Groups { quants, group, scales, biases }, ..entry })
    }

    fn scales_of(&self, entry: &Entry, name: &str, shape: &[usize]) -> Result<Box<Entry>> {
        let scales = self.raw_entry(name).ok_or_else(|| Error::MissingScales {
            path: self.path_of(entry),
            name: entry.name.clone(),
            found: entry.raw.number.to_string(),
            scales: name.to_owned(),
        })?;
        if scales.raw.shape != shape {
            return Err(self.wrong_shape(scales, shape));
        }
        match scales.raw.number {
            Number::Plain(Dtype::F32 | Dtype::F16 | Dtype::BF16) => Ok(Box::new(scales.clone())),
            _ => Err(self.wrong_dtype(scales)),
        }
    }

    /// The numbers of an entry in the file's format, borrowed where they can be.
    pub(crate) fn data(&self, entry: &Entry) -> Result<WeightData<'_>> {
        let bytes = self.bytes_of(entry);
        Ok(match (entry.raw.number, &entry.scales) {
            (Number::Plain(Dtype::F32), _) => WeightData::F32(numbers(bytes, f32::from_le_bytes)),
            (Number::Plain(Dtype::BF16), _) => WeightData::Bf16(numbers(bytes, bf16::from_le_bytes)),
            (Number::Plain(Dtype::F16), _) => WeightData::F16(numbers(bytes, f16::from_le_bytes)),
            (Number::Plain(Dtype::I8), Scales::Rows(scales)) => {
                let scales = self.floats(scales)?.iter().map(|scb| scb / 127.0).collect();
                WeightData::Int8 { values: numbers(bytes, i8::from_le_bytes), scales: Cow::Owned(scales) }
            }
            (Number::Plain(Dtype::U32), Scales::Groups { quants, group, scales, biases }) => {
                // Little-endian words hold their first weight in their lowest bits: the bytes are in order as they are.
                let (scales, biases) = (self.floats(scales)?, self.floats(biases)?);
                WeightData::Grouped(Grouped {
                    quants: *quants,
                    group: *group,
                    packed: Cow::Borrowed(bytes),
                    scales,
                    biases,
                })
            }
            (Number::Blocks(blocks), _) => WeightData::Grouped(blocks.unpack(bytes)),
            _ => return Err(self.wrong_dtype(entry)),
        })
    }

    /// An entry of floating-point numbers as single precision.
    pub(crate) fn floats(&self, entry: &Entry) -> Result<Cow<'_, [f32]>> {
        Ok(match self.data(entry)? {
            WeightData::F32(v) => v,
            WeightData::Bf16(v) => v.iter().map(|x| x.to_f32()).collect(),
            WeightData::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            _ => return Err(self.wrong_dtype(entry)),
        })
    }
}

/// Little-endian bytes as numbers: in place where they are aligned and the machine is little-endian.
fn numbers<const N: usize, T: bytemuck::Pod>(bytes: &[u8], from_le: fn([u8; N]) -> T) -> Cow<'_, [T]> {
    if cfg!(target_endian = "little")
        && let Ok(borrowed) = bytemuck::try_cast_slice(bytes)
    {
        return Cow::Borrowed(borrowed);
    }
    Cow::Owned(bytes.as_chunks::<N>().0.iter().map(|b| from_le(*b)).collect())
}
