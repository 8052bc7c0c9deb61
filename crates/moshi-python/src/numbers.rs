//! Numbers from Python, whatever kind of number they are: in their range, or an error that names the parameter.

use std::hash::{BuildHasher, Hasher, RandomState};

use moshi_engine::{PARAMETERS, Parameter, Range, Slider};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

/// The temperature that the published programs read with.
const READING_TEMPERATURE: f32 = 0.6;
/// More threads than any machine has cores.
const MAX_THREADS: u64 = 1_024;

/// A seed; -1 and None are any, as in the server's protocol.
pub(crate) fn seed(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let any = || RandomState::new().build_hasher().finish();
    if value.is_none() {
        return Ok(any());
    }
    let number = integer("seed", value, "a whole number, or -1 for any")?;
    if number.eq(-1)? {
        return Ok(any());
    }
    number.extract().map_err(|_| refused("seed", value, &format!("0 to {}, or -1 for any", u64::MAX)))
}

/// Threads per step, or None for the default.
pub(crate) fn threads(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    optional("threads", value, 1, MAX_THREADS)
}

/// Codebooks of a codec; how many there are, its file says.
pub(crate) fn num_codebooks(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    whole("num_codebooks", value, 1, 1_024)
}

pub(crate) fn top_k(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    declared_whole("top_k", value)
}

pub(crate) fn text_top_k(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    declared_whole("text_top_k", value)
}

pub(crate) fn repetition_context(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    declared_whole("repetition_context", value)
}

pub(crate) fn temperature(value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    real("temperature", value)
}

pub(crate) fn text_temperature(value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    real("text_temperature", value)
}

pub(crate) fn top_p(value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    real("top_p", value)
}

/// Temperature of a synthesis; as published where none is given.
pub(crate) fn reading_temperature(value: &Bound<'_, PyAny>) -> PyResult<f32> {
    Ok(real("temperature", value)?.unwrap_or(READING_TEMPERATURE))
}

/// Temperature of the text of a synthesis; as published where none is given.
pub(crate) fn reading_text_temperature(value: &Bound<'_, PyAny>) -> PyResult<f32> {
    Ok(real("text_temperature", value)?.unwrap_or(READING_TEMPERATURE))
}

/// Steps of silence between words that are read.
pub(crate) fn padding_between(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    let steps = whole("padding_between", value, 0, 100)?;
    Ok(u32::try_from(steps).unwrap_or(u32::MAX))
}

/// Codebooks of a synthesis; the model knows how many it has.
pub(crate) fn codebooks(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    optional("num_codebooks", value, 1, 1_024)
}

/// Who speaks: the models tell two speakers apart.
pub(crate) fn speaker(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    whole("speaker", value, 0, 1)
}

/// How far a session is drawn towards what it is told; the model checks its range.
pub(crate) fn cfg(value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    real("cfg", value)
}

pub(crate) fn pad_mult(value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    real("pad_mult", value)
}

pub(crate) fn repetition_penalty(value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    real("repetition_penalty", value)
}

/// A parameter of sessions that is a whole number.
fn declared_whole(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let high = match Parameter::named(name).map(|parameter| parameter.range) {
        Some(Range::Whole(high)) => u64::from(high),
        Some(Range::Real(..)) | None => 0, // a test goes through all of them
    };
    optional(name, value, 0, high)
}

/// The parameters of sessions as they are declared: name, name in a query, help, smallest and largest value, whether it is
/// a whole number, its default, and how a page shows it (label, smallest, largest, step).
pub(crate) fn declared() -> Vec<Declared> {
    let one = |parameter: &Parameter| {
        let Slider { label, min, max, step } = parameter.slider;
        let (low, high, whole) = match parameter.range {
            Range::Real(low, high) => (low, high, false),
            Range::Whole(high) => (0.0, f64::from(high), true),
        };
        let names = (parameter.name, parameter.wire, parameter.help);
        (names, (low, high, whole, parameter.usual()), (label, min, max, step))
    };
    PARAMETERS.iter().map(one).collect()
}

/// One declaration as Python gets it.
type Declared = ((&'static str, &'static str, &'static str), (f64, f64, bool, f64), (&'static str, f64, f64, f64));

fn optional(name: &str, value: &Bound<'_, PyAny>, low: u64, high: u64) -> PyResult<Option<usize>> {
    if value.is_none() { Ok(None) } else { whole(name, value, low, high).map(Some) }
}

fn whole(name: &str, value: &Bound<'_, PyAny>, low: u64, high: u64) -> PyResult<usize> {
    let number = integer(name, value, "a whole number")?.extract::<u64>();
    let number = number.ok().filter(|number| (low..=high).contains(number));
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| refused(name, value, &format!("a whole number from {low} to {high}")))
}

/// Any kind of integer as Python's own; a bool is none.
fn integer<'py>(name: &str, value: &Bound<'py, PyAny>, expected: &str) -> PyResult<Bound<'py, PyAny>> {
    let index = || value.py().import("operator")?.call_method1("index", (value,));
    if is_bool(value) {
        return Err(wrong_type(name, value, expected));
    }
    index().map_err(|_| wrong_type(name, value, expected))
}

/// Any kind of real number, or None; the engine checks its range.
fn real(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    if value.is_none() {
        return Ok(None);
    }
    if is_bool(value) {
        return Err(wrong_type(name, value, "a number"));
    }
    match value.extract::<f64>() {
        Ok(number) if (number as f32).is_finite() => Ok(Some(number as f32)),
        Ok(_) => Err(refused(name, value, "a finite number")),
        // An integer too large for a float.
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(value.py()) => {
            Err(refused(name, value, "a finite number"))
        }
        Err(_) => Err(wrong_type(name, value, "a number")),
    }
}

/// Python's bool or numpy's.
fn is_bool(value: &Bound<'_, PyAny>) -> bool {
    let name = || value.get_type().name().is_ok_and(|name| name == "bool" || name == "bool_");
    value.is_instance_of::<PyBool>() || name()
}

fn wrong_type(name: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let kind = value.get_type().name().map_or_else(|_| "an object".to_owned(), |kind| kind.to_string());
    PyTypeError::new_err(format!("{name} is {} ({kind}); expected {expected}", shown(value)))
}

fn refused(name: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    PyValueError::new_err(format!("{name} is {}; expected {expected}", shown(value)))
}

/// The value as Python writes it, if that is short.
fn shown(value: &Bound<'_, PyAny>) -> String {
    let text = value.str().map_or_else(|_| "a number too long to show".to_owned(), |text| text.to_string());
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
