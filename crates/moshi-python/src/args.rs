//! Arrays in: numpy arrays of the right type and shape, or an error that says what came instead.

use numpy::{PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Samples further out than this are no samples in [-1, 1] that are a little too loud, but in another scale.
const LOUDEST: f32 = 8.0;

/// A copy of a 1-D float32 array of samples that somebody hears: finite, and in [-1, 1] or not far beyond.
pub(crate) fn heard(value: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let samples = pcm(value)?;
    match too_loud(&samples) {
        Some(message) => Err(PyValueError::new_err(message)),
        None => Ok(samples),
    }
}

/// What to say of samples in another scale; `None` where they are in [-1, 1] or not far beyond.
pub(crate) fn too_loud(samples: &[f32]) -> Option<String> {
    let i = samples.iter().position(|sample| sample.abs() > LOUDEST)?;
    Some(format!(
        "pcm: sample {i} is {}; expected samples in [-1, 1]. Samples in the scale of int16 are to be divided by 32768",
        samples[i]
    ))
}

/// A copy of a 1-D float32 array of finite samples.
pub(crate) fn pcm(value: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let found = describe(value);
    let array = value.cast::<PyArray1<f32>>().map_err(|_| {
        PyTypeError::new_err(format!(
            "pcm: expected a 1-D float32 numpy array of mono samples at 24 kHz in [-1, 1], found {found}; \
             convert with numpy.asarray(x, dtype=numpy.float32), integers divided by their full scale"
        ))
    })?;
    let samples = array.try_readonly()?.as_array().to_vec();
    match samples.iter().position(|x| !x.is_finite()) {
        None => Ok(samples),
        Some(i) => Err(PyValueError::new_err(format!("pcm: sample {i} is {}; expected finite samples", samples[i]))),
    }
}

/// A copy of a 2-D integer array `[rows, T]`, row-major, with T.
pub(crate) fn codes_2d(what: &str, rows: usize, value: &Bound<'_, PyAny>) -> PyResult<(Vec<i32>, usize)> {
    let array = table(what, rows, value)?;
    let steps = array.shape()[1];
    Ok((array.readonly().as_array().iter().copied().collect(), steps))
}

/// A copy of a 2-D integer array `[rows, T]`, as `[T, rows]`.
pub(crate) fn codes_by_frame(what: &str, rows: usize, value: &Bound<'_, PyAny>) -> PyResult<Vec<i32>> {
    Ok(table(what, rows, value)?.readonly().as_array().t().iter().copied().collect())
}

fn table<'py>(what: &str, rows: usize, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<i32>>> {
    let found = describe(value);
    let expected =
        || PyTypeError::new_err(format!("{what}: expected an integer numpy array of shape [{rows}, T], found {found}"));
    let array = as_int32(what, value)?.ok_or_else(expected)?;
    let array = array.cast_into::<PyArray2<i32>>().map_err(|_| expected())?;
    if array.shape()[0] != rows {
        return Err(PyValueError::new_err(format!("{what}: expected shape [{rows}, T], found {found}")));
    }
    Ok(array)
}

/// A copy of a 1-D integer array of `count` codes.
pub(crate) fn codes_1d(what: &str, count: usize, value: &Bound<'_, PyAny>) -> PyResult<Vec<i32>> {
    let found = describe(value);
    let expected = || PyTypeError::new_err(format!("{what}: expected {count} integers, found {found}"));
    let array = as_int32(what, value)?.ok_or_else(expected)?;
    let array = array.cast::<PyArray1<i32>>().map_err(|_| expected())?;
    if array.len() != count {
        return Err(PyValueError::new_err(format!("{what}: expected {count} integers, found {found}")));
    }
    Ok(array.try_readonly()?.as_array().to_vec())
}

/// A copy of a 1-D sequence of any number of tokens.
pub(crate) fn tokens(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<i32>> {
    let found = describe(value);
    let expected = || PyTypeError::new_err(format!("{what}: expected a sequence of integers, found {found}"));
    if value.len().is_ok_and(|len| len == 0) {
        return Ok(Vec::new());
    }
    let array = as_int32(what, value)?.ok_or_else(expected)?;
    let array = array.cast::<PyArray1<i32>>().map_err(|_| expected())?;
    Ok(array.try_readonly()?.as_array().to_vec())
}

/// A copy of a float32 array `[n, width]`, or `[width]` for one, row-major.
pub(crate) fn vectors(what: &str, width: usize, value: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let found = describe(value);
    let expected =
        || format!("{what}: expected a float32 numpy array of shape [n, {width}] or [{width}], found {found}");
    let array = value.cast::<PyArrayDyn<f32>>().map_err(|_| PyTypeError::new_err(expected()))?;
    match array.shape() {
        [cols] | [_, cols] if *cols == width => Ok(array.try_readonly()?.as_array().iter().copied().collect()),
        _ => Err(PyValueError::new_err(expected())),
    }
}

/// Codes as the codec takes them, which has no "nothing here".
pub(crate) fn unsigned(what: &str, codes: Vec<i32>) -> PyResult<Vec<u32>> {
    let converted = codes.iter().map(|&c| {
        u32::try_from(c).map_err(|_| PyValueError::new_err(format!("{what}: code {c} is negative; expected 0 or more")))
    });
    converted.collect()
}

/// The value as an int32 array; None where it is no array (or sequence) of integers.
///
/// # Errors
/// `ValueError` for an integer that does not fit, which is no code of any model.
fn as_int32<'py>(what: &str, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let numpy = value.py().import("numpy")?;
    let Ok(array) = numpy.call_method1("asarray", (value,)) else { return Ok(None) };
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    if !matches!(kind.as_str(), "i" | "u") {
        return Ok(None);
    }
    if array.getattr("size")?.extract::<usize>()? > 0 {
        for (extreme, limit) in [("min", "less"), ("max", "larger")] {
            let code = array.call_method0(extreme)?;
            if code.extract::<i32>().is_err() {
                return Err(PyValueError::new_err(format!(
                    "{what}: code {code} is {limit} than any code of any model"
                )));
            }
        }
    }
    Ok(Some(array.call_method1("astype", ("int32",))?))
}

/// `int16 array of shape [2, 100]`, or the type of whatever else it is.
pub(crate) fn describe(value: &Bound<'_, PyAny>) -> String {
    match value.cast::<PyUntypedArray>() {
        Ok(array) => format!("{} array of shape {:?}", array.dtype(), array.shape()),
        Err(_) => value.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string()),
    }
}
