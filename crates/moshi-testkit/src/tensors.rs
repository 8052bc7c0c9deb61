//! A small reader of safetensors files, whole in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use moshi_nn::{Error, HostWeight, Result, WeightData, WeightSource};
use safetensors::{Dtype, SafeTensors};

/// The tensors of one file.
#[derive(Debug, Clone)]
pub struct FileTensors {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// What a test file lacks.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// No such tensor.
    #[error("{path}: no tensor {name}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Another shape than asked for.
    #[error("{path}: tensor {name} is {found:?}, expected {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A number format that this reader does not know.
    #[error("{path}: tensor {name} holds {found:?}")]
    Format {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The format in the file.
        found: Dtype,
    },
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl FileTensors {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TensorError::File`] when it is not a safetensors file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TensorError> {
        let path = path.as_ref().to_path_buf();
        let fail = |reason: String| TensorError::File { path: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|e| fail(e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?;
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                (name, Tensor { dtype, shape, bytes })
            })
            .collect();
        Ok(Self { path, tensors })
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor as single precision.
    ///
    /// # Errors
    /// [`TensorError`] when it is missing or holds no floats.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, TensorError> {
        let tensor = self.get(name)?;
        Ok(match tensor.dtype {
            Dtype::F32 => words(&tensor.bytes, f32::from_le_bytes),
            Dtype::BF16 => words(&tensor.bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F16 => words(&tensor.bytes, |b| f16::from_le_bytes(b).to_f32()),
            found => return Err(self.format(name, found)),
        })
    }

    /// A tensor of 32-bit integers, or of 16-bit ones, widened.
    ///
    /// # Errors
    /// [`TensorError`] when it is missing or holds something else.
    pub fn i32(&self, name: &str) -> Result<Vec<i32>, TensorError> {
        let tensor = self.get(name)?;
        match tensor.dtype {
            Dtype::I32 => Ok(words(&tensor.bytes, i32::from_le_bytes)),
            Dtype::I16 => Ok(words(&tensor.bytes, |b| i32::from(i16::from_le_bytes(b)))),
            found => Err(self.format(name, found)),
        }
    }

    /// A tensor of bytes.
    ///
    /// # Errors
    /// [`TensorError`] when it is missing or holds something else.
    pub fn u8(&self, name: &str) -> Result<Vec<u8>, TensorError> {
        let tensor = self.get(name)?;
        match tensor.dtype {
            Dtype::U8 => Ok(tensor.bytes.clone()),
            found => Err(self.format(name, found)),
        }
    }

    fn get(&self, name: &str) -> Result<&Tensor, TensorError> {
        let missing = || TensorError::Missing { path: self.path.clone(), name: name.to_owned() };
        self.tensors.get(name).ok_or_else(missing)
    }

    fn format(&self, name: &str, found: Dtype) -> TensorError {
        TensorError::Format { path: self.path.clone(), name: name.to_owned(), found }
    }

    fn shaped(&self, name: &str, expected: &[usize], fits: bool) -> Result<(), TensorError> {
        if fits {
            return Ok(());
        }
        let found = self.get(name)?.shape.clone();
        Err(TensorError::Shape { path: self.path.clone(), name: name.to_owned(), expected: expected.to_vec(), found })
    }
}

impl WeightSource for FileTensors {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|t| t.shape.clone())
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostWeight<'_>> {
        let tensor = self.get(name).map_err(Error::source)?;
        let fits = tensor.shape.first() == Some(&rows) && tensor.shape.iter().skip(1).product::<usize>() == cols;
        self.shaped(name, &[rows, cols], fits).map_err(Error::source)?;
        let data = match tensor.dtype {
            Dtype::F32 => WeightData::F32(words(&tensor.bytes, f32::from_le_bytes).into()),
            Dtype::BF16 => WeightData::Bf16(words(&tensor.bytes, bf16::from_le_bytes).into()),
            Dtype::F16 => WeightData::F16(words(&tensor.bytes, f16::from_le_bytes).into()),
            found => return Err(Error::source(self.format(name, found))),
        };
        Ok(HostWeight::new(rows, cols, data)?)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let fits = self.get(name).map_err(Error::source)?.shape == shape;
        self.shaped(name, shape, fits).map_err(Error::source)?;
        self.f32(name).map_err(Error::source)
    }
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|word| read(*word)).collect()
}
