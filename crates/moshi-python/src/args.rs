//! Arrays in: numpy arrays of the right type and shape, or an error that says what came instead.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

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
    let found = describe(value);
    let expected =
        || PyTypeError::new_err(format!("{what}: expected an integer numpy array of shape [{rows}, T], found {found}"));
    let array = as_int32(value).ok_or_else(expected)?;
    let array = array.cast::<PyArray2<i32>>().map_err(|_| expected())?;
    if array.shape()[0] != rows {
        return Err(PyValueError::new_err(format!("{what}: expected shape [{rows}, T], found {found}")));
    }
    let steps = array.shape()[1];
    Ok((array.try_readonly()?.as_array().iter().copied().collect(), steps))
}

/// A copy of a 1-D integer array of `count` codes.
pub(crate) fn codes_1d(what: &str, count: usize, value: &Bound<'_, PyAny>) -> PyResult<Vec<i32>> {
    let found = describe(value);
    let expected = || PyTypeError::new_err(format!("{what}: expected {count} integers, found {found}"));
    let array = as_int32(value).ok_or_else(expected)?;
    let array = array.cast::<PyArray1<i32>>().map_err(|_| expected())?;
    if array.len() != count {
        return Err(PyValueError::new_err(format!("{what}: expected {count} integers, found {found}")));
    }
    Ok(array.try_readonly()?.as_array().to_vec())
}

/// Codes as the codec takes them, which has no "nothing here".
pub(crate) fn unsigned(what: &str, codes: Vec<i32>) -> PyResult<Vec<u32>> {
    let converted = codes.iter().map(|&c| {
        u32::try_from(c).map_err(|_| PyValueError::new_err(format!("{what}: code {c} is negative; expected 0 or more")))
    });
    converted.collect()
}

/// The value as an int32 array if it is an array (or sequence) of integers.
fn as_int32<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let numpy = value.py().import("numpy").ok()?;
    let array = numpy.call_method1("asarray", (value,)).ok()?;
    let kind: String = array.getattr("dtype").ok()?.getattr("kind").ok()?.extract().ok()?;
    if !matches!(kind.as_str(), "i" | "u") {
        return None;
    }
    array.call_method1("astype", ("int32",)).ok()
}

/// `int16 array of shape [2, 100]`, or the type of whatever else it is.
fn describe(value: &Bound<'_, PyAny>) -> String {
    match value.cast::<PyUntypedArray>() {
        Ok(array) => format!("{} array of shape {:?}", array.dtype(), array.shape()),
        Err(_) => value.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string()),
    }
}
