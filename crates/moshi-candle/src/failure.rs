//! What fails in here.

use moshi_nn::Error;

/// The tensor library, or what the trait has a word for.
#[derive(Debug)]
pub(crate) enum Failure {
    Tensor(candle_core::Error),
    Nn(Error),
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<candle_core::Error> for Failure {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Nn(error)
    }
}

impl From<moshi_tensor::Error> for Failure {
    fn from(error: moshi_tensor::Error) -> Self {
        Self::Nn(error.into())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Tensor(error) => Self::device(error),
            Failure::Nn(error) => error,
        }
    }
}
