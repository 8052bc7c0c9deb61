//! Weights of any size from nothing, in any number format: to measure what no file at hand holds.
//!
//! A model of billions of weights is there in a second: matrices of one width are cut out of one stretch of random
//! numbers, at a place that their name decides. What an executor lays out is then as large, and read as often, as with
//! weights of a file. Scales keep the activations' size within bounds; what such a model says is noise.
//!
//! ```
//! use moshi_checkpoint::{Invented, LmConfig, Numbers};
//! use moshi_nn::WeightSource;
//! let small = LmConfig { dim: 64, num_heads: 2, num_layers: 1, depformer: None, dep_q: 0, ..LmConfig::moshi_7b() };
//! let weights = Invented::lm(&small, Numbers::Q4, 1);
//! let matrix = weights.matrix("transformer.layers.0.self_attn.out_projs.0.weight", 64, 64)?;
//! assert_eq!(matrix.bytes(), 64 * 64 / 2 + 2 * 64 * 2 * 4);
//! # Ok::<(), moshi_nn::Error>(())
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use half::{bf16, f16};
use moshi_nn::WeightSource;
use moshi_tensor::weight::{Grouped, HostWeight, Quants, WeightData};

use crate::random::Range;
use crate::{Error, LmConfig, MimiConfig, Result, lm_tensors, mimi_tensors};

/// The number format of invented matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Numbers {
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
    /// int8 with a scale for each row, as published PyTorch files have it; embeddings in bf16.
    Q8,
    /// int8 in blocks of 32 with half-precision scales (GGUF); embeddings in bf16.
    Q8_0,
    /// The temporal transformer in 4 bits: groups of 32 with half-precision scales, symmetric (a bias is -8 scales).
    /// Depth transformer and heads as [`Numbers::Q8`], embeddings in bf16.
    Q4,
    /// Unsigned bytes in groups of 64 with scales and biases (MLX); embeddings in bf16.
    MlxQ8,
    /// Unsigned halves of bytes in groups of 64 with scales and biases (MLX), depth transformer and heads too;
    /// embeddings in bf16.
    MlxQ4,
}

impl Numbers {
    const NAMES: [(&'static str, Self); 7] = [
        ("f32", Self::F32),
        ("bf16", Self::Bf16),
        ("q8", Self::Q8),
        ("q8_0", Self::Q8_0),
        ("q4", Self::Q4),
        ("mlx-q8", Self::MlxQ8),
        ("mlx-q4", Self::MlxQ4),
    ];

    /// All names, as [`FromStr`] takes them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().map(|(name, _)| name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, numbers)| *numbers == self).map_or("", |(name, _)| name)
    }

    /// Columns that share a scale.
    fn group(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4 => 32,
            Self::MlxQ8 | Self::MlxQ4 => 64,
            Self::F32 | Self::Bf16 | Self::Q8 => 1,
        }
    }

    /// The format of a matrix of that name in a model of this format.
    fn of(self, name: &str, cols: usize) -> Self {
        let part = |end: &str| name.split('.').next().is_some_and(|first| first.ends_with(end));
        match self {
            Self::F32 => Self::F32,
            _ if part("emb") && !name.contains("low_rank") => Self::Bf16,
            Self::Q4 if !name.contains("transformer.layers") => Self::Q8,
            _ if !cols.is_multiple_of(self.group()) => Self::Bf16,
            _ => self,
        }
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let known = || format!("found {s:?}, expected one of {}", Self::names().collect::<Vec<_>>().join(", "));
        Self::NAMES.into_iter().find(|(name, _)| *name == s).map(|(_, numbers)| numbers).ok_or_else(known)
    }
}

/// A [`WeightSource`] of random weights for one configuration.
#[derive(Debug)]
pub struct Invented {
    shapes: BTreeMap<String, Vec<usize>>,
    numbers: Numbers,
    seed: u64,
    layer_scale: Option<f64>,
    /// By format and number of columns.
    stretches: BTreeMap<(Numbers, usize), HostWeight<'static>>,
}

impl Invented {
    /// The weights of a language model.
    pub fn lm(config: &LmConfig, numbers: Numbers, seed: u64) -> Self {
        let shapes = lm_tensors(config).into_iter().map(|spec| (spec.name, spec.shape)).collect();
        Self::new(shapes, numbers, seed, config.layer_scale)
    }

    /// The weights of a codec: its transformers' matrices in the given format, all else in single precision.
    pub fn mimi(config: &MimiConfig, numbers: Numbers, seed: u64) -> Self {
        let shapes = mimi_tensors(config).into_iter().map(|spec| (spec.name, spec.shape)).collect();
        Self::new(shapes, numbers, seed, config.transformer.layer_scale)
    }

    fn new(shapes: BTreeMap<String, Vec<usize>>, numbers: Numbers, seed: u64, layer_scale: Option<f64>) -> Self {
        let mut rows = BTreeMap::<_, usize>::new();
        for (name, shape) in &shapes {
            if let [n, cols] = shape[..] {
                let longest = rows.entry((numbers.of(name, cols), cols)).or_default();
                *longest = n.max(*longest);
            }
        }
        let noise = Noise::new(seed);
        let stretch = |((numbers, cols), rows): ((Numbers, usize), usize)| {
            // A quarter more, so that matrices of one shape begin at different places.
            let weight = noise.matrix(numbers, rows + rows / 4, cols)?;
            Some(((numbers, cols), weight))
        };
        let stretches = rows.into_iter().filter_map(stretch).collect();
        Self { shapes, numbers, seed, layer_scale, stretches }
    }

    /// About how many bytes an executor needs for all tensors.
    pub fn bytes(&self) -> u64 {
        let bytes = |(name, shape): (&String, &Vec<usize>)| {
            let cols: usize = shape.iter().skip(1).product();
            let count: usize = shape.iter().product();
            let bits = match self.numbers.of(name, cols) {
                _ if shape.len() != 2 => 32,
                Numbers::F32 => 32,
                Numbers::Bf16 => 16,
                Numbers::Q8 => 8,
                Numbers::Q8_0 => 9,
                Numbers::Q4 | Numbers::MlxQ4 => 5,
                Numbers::MlxQ8 => 9,
            };
            count as u64 * bits / 8
        };
        self.shapes.iter().map(bytes).sum()
    }

    fn checked(&self, name: &str, fits: impl Fn(&[usize]) -> bool, expected: &[usize]) -> Result<&[usize]> {
        let path = PathBuf::from("invented weights");
        let Some(shape) = self.shapes.get(name) else { return Err(Error::NoTensor { path, name: name.to_owned() }) };
        if fits(shape) {
            return Ok(shape);
        }
        Err(Error::Shape { path, name: name.to_owned(), expected: expected.to_vec(), found: shape.clone() })
    }

    fn cut(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        let shape = self.checked(name, |s| s[0] == rows && s[1..].iter().product::<usize>() == cols, &[rows, cols])?;
        let stretch = self.stretches.get(&(self.numbers.of(name, cols), cols)).filter(|_| shape.len() == 2);
        let Some(stretch) = stretch else {
            return Ok(HostWeight::from_f32(rows, cols, self.plain(name, shape))?);
        };
        let spare = stretch.rows() - rows;
        let first = (self.seed.wrapping_mul(31) ^ crate::random::hash(name)) % (spare as u64 + 1);
        Ok(borrow(stretch).slice_rows(first as usize, rows)?)
    }

    fn plain(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let count = shape.iter().product();
        Range::of(name, shape, self.layer_scale).values(self.seed, name).take(count).collect()
    }
}

impl WeightSource for Invented {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shapes.get(name).cloned()
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> moshi_nn::Result<HostWeight<'_>> {
        self.cut(name, rows, cols).map_err(moshi_nn::Error::source)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> moshi_nn::Result<Vec<f32>> {
        let of_shape = |found: &[usize]| found == shape;
        let found = self.checked(name, of_shape, shape).map_err(moshi_nn::Error::source)?;
        Ok(self.plain(name, found))
    }
}

/// The same numbers, borrowed: [`HostWeight::slice_rows`] copies owned ones.
fn borrow<'a>(weight: &'a HostWeight<'static>) -> HostWeight<'a> {
    let data = match weight.data() {
        WeightData::F32(v) => WeightData::F32(Cow::Borrowed(v)),
        WeightData::Bf16(v) => WeightData::Bf16(Cow::Borrowed(v)),
        WeightData::Int8 { values, scales } => {
            WeightData::Int8 { values: Cow::Borrowed(values), scales: Cow::Borrowed(scales) }
        }
        WeightData::Grouped(g) => WeightData::Grouped(Grouped {
            packed: Cow::Borrowed(&g.packed),
            scales: Cow::Borrowed(&g.scales),
            biases: Cow::Borrowed(&g.biases),
            ..*g
        }),
        other => other.clone(),
    };
    // The sizes are those of a matrix that was checked when it was made.
    HostWeight::new(weight.rows(), weight.cols(), data).unwrap_or_else(|_| weight.clone())
}

/// A few megabytes of random bytes, repeated as often as needed.
struct Noise(Vec<u8>);

impl Noise {
    /// Odd, so that rows of a matrix are different stretches of it.
    const BYTES: usize = (4 << 20) - 59;

    fn new(seed: u64) -> Self {
        let range = Range::uniform();
        let words = range.values(seed, "noise").map(|x| (x * 8_388_608.0) as i32);
        Self(words.flat_map(|w| [w as u8, (w >> 8) as u8, (w >> 16) as u8]).take(Self::BYTES).collect())
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.0[..Self::BYTES.min(len - bytes.len())]);
        }
        bytes
    }

    /// Signed bytes without -128, which the published formats do not use.
    fn signed(&self, len: usize) -> Vec<i8> {
        self.bytes(len).into_iter().map(|b| (b as i8).max(-127)).collect()
    }

    /// Uniform in [-1, 1).
    fn values(&self, len: usize) -> impl Iterator<Item = f32> {
        let pairs = self.0.as_chunks::<2>().0.iter().cycle();
        pairs.take(len).map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0)
    }

    /// Around `middle`, at most a quarter away from it.
    fn scales(&self, len: usize, middle: f32) -> impl Iterator<Item = f32> {
        self.values(len).map(move |x| middle * (1.0 + 0.25 * x))
    }

    /// A matrix whose rows have a length of about 1; nothing where its sizes fit no matrix.
    fn matrix(&self, numbers: Numbers, rows: usize, cols: usize) -> Option<HostWeight<'static>> {
        let (count, size) = (rows * cols, 1.0 / (cols.max(1) as f32).sqrt());
        let spread = 3f32.sqrt() * size;
        let groups = rows * (cols / numbers.group());
        let grouped = |quants, packed, (scales, biases): (Vec<f32>, Vec<f32>)| {
            let (packed, scales, biases) = (Cow::Owned(packed), Cow::Owned(scales), Cow::Owned(biases));
            WeightData::Grouped(Grouped { quants, group: numbers.group(), packed, scales, biases })
        };
        // Standard deviations of a uniform byte and of a uniform half of one.
        let (byte, half) = (73.9, 4.61);
        let in_half = |x: f32| f16::from_f32(x).to_f32();
        let in_bf16 = |x: f32| bf16::from_f32(x).to_f32();
        let with_biases = |deviation: f32, zero: f32, round: fn(f32) -> f32| {
            let scales: Vec<f32> = self.scales(groups, size / deviation).map(round).collect();
            let biases = scales.iter().map(|s| round(-zero * s)).collect();
            (scales, biases)
        };
        let data = match numbers {
            Numbers::F32 => WeightData::F32(self.values(count).map(|x| spread * x).collect()),
            Numbers::Bf16 => WeightData::Bf16(self.values(count).map(|x| bf16::from_f32(spread * x)).collect()),
            Numbers::Q8 => {
                let scales = self.scales(rows, size / byte).collect();
                WeightData::Int8 { values: Cow::Owned(self.signed(count)), scales }
            }
            Numbers::Q8_0 => {
                let packed = self.signed(count).into_iter().map(|x| x as u8).collect();
                let scales = self.scales(groups, size / byte).map(in_half).collect();
                grouped(Quants::I8, packed, (scales, Vec::new()))
            }
            Numbers::Q4 => grouped(Quants::U4, self.bytes(count / 2), with_biases(half, 8.0, in_half)),
            Numbers::MlxQ8 => grouped(Quants::U8, self.bytes(count), with_biases(byte, 127.3, in_bf16)),
            Numbers::MlxQ4 => grouped(Quants::U4, self.bytes(count / 2), with_biases(half, 7.3, in_bf16)),
        };
        HostWeight::new(rows, cols, data).ok()
    }
}
