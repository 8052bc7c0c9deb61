//! What a caller gives the model beside its voice, from any wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moshi_engine::{Forced, Input, When, Words};
use moshi_protocol::{SayWhen, Steer};

use crate::engine_thread::SessionInput;

/// Bytes of a float.
const FLOAT: usize = size_of::<f32>();

/// Gives the model what a caller steers with.
///
/// # Errors
/// What does not fit the model, in words for the caller; what came before it in the same message was taken.
pub(crate) fn steer(session: &SessionInput, steer: &Steer) -> Result<(), String> {
    let give = |input: Input<'_>| session.give(input).map_err(|error| error.to_string());
    match steer {
        Steer::Say { text, when } => {
            let when = match when {
                SayWhen::Now => When::Now,
                SayWhen::Quiet => When::Quiet,
            };
            give(Input::Words(Words { when, ..Words::new(text) }))
        }
        Steer::Force { frames } => frames.iter().try_for_each(|frame| {
            let cells: Vec<Forced> = frame.iter().map(cell).collect();
            give(Input::Forced(&cells))
        }),
        Steer::Add { vectors } => {
            let values = floats(vectors)?;
            let width = session.width().max(1);
            if values.is_empty() || !values.len().is_multiple_of(width) {
                return Err(format!(
                    "{} numbers to add; expected whole rows of {width}, the width of this model",
                    values.len()
                ));
            }
            values.chunks_exact(width).try_for_each(|row| give(Input::Added(row)))
        }
        Steer::Watch { tokens } => give(Input::Watched(tokens)),
    }
}

fn cell(value: &Option<i32>) -> Forced {
    match *value {
        None => Forced::Free,
        Some(token) if token < 0 => Forced::Nothing,
        Some(token) => Forced::Token(token),
    }
}

fn floats(text: &str) -> Result<Vec<f32>, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("vectors are no base64: {error}"))?;
    if !bytes.len().is_multiple_of(FLOAT) {
        return Err(format!("{} bytes of vectors; expected floats of {FLOAT} bytes each", bytes.len()));
    }
    Ok(bytes.as_chunks::<FLOAT>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
