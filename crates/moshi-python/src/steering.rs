//! What a dialogue is given beside what it hears, as Python writes it.

use moshi_engine::{Forced, When};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::args;

/// How a cell is written that is left to the model.
const FREE: i32 = -1;

/// When words are said.
pub(crate) fn when(when: &str) -> PyResult<When> {
    match when {
        "now" => Ok(When::Now),
        "quiet" => Ok(When::Quiet),
        other => Err(PyValueError::new_err(format!("when is {other:?}; expected \"now\" or \"quiet\""))),
    }
}

/// What frames must say: text tokens `[n]`, codes `[dep_q, n]`, or both, as cells frame by frame.
pub(crate) fn forced(
    text: Option<&Bound<'_, PyAny>>,
    codes: Option<&Bound<'_, PyAny>>,
    dep_q: usize,
) -> PyResult<Vec<Forced>> {
    let text = text.map(|tokens| args::tokens("text_tokens", tokens)).transpose()?;
    let codes = codes.map(|codes| args::codes_by_frame("codes", dep_q, codes)).transpose()?;
    let frames = match (&text, &codes) {
        (Some(text), Some(codes)) if text.len() * dep_q != codes.len() => {
            let (tokens, frames) = (text.len(), codes.len() / dep_q.max(1));
            let found = format!("{tokens} text_tokens and codes of {frames} frames; expected as many of each");
            return Err(PyValueError::new_err(found));
        }
        (Some(text), _) => text.len(),
        (None, Some(codes)) => codes.len() / dep_q.max(1),
        (None, None) => 0,
    };
    if frames == 0 {
        return Err(PyValueError::new_err("nothing to force: give text_tokens, codes, or both"));
    }
    let cell = |cell: Option<&i32>| cell.filter(|&&token| token != FREE).map_or(Forced::Free, |&t| Forced::Token(t));
    let frame = |frame: usize| {
        let code = |q| cell(codes.as_ref().and_then(|codes| codes.get(frame * dep_q + q)));
        let token = cell(text.as_ref().and_then(|text| text.get(frame)));
        std::iter::once(token).chain((0..dep_q).map(code)).collect::<Vec<_>>()
    };
    Ok((0..frames).flat_map(frame).collect())
}
