//! Weights that an executor has laid out, kept by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Backend, Result};

/// The matrices and tables of a model, as its executor holds them. A model that is loaded once more with this at hand
/// ([`At::keeping`](crate::At::keeping)), because it gets further adapters, shares them: they are there once.
pub struct LaidOut<B: Backend> {
    matrices: ByName<B::Matrix>,
    tables: ByName<B::Table>,
}

struct ByName<T>(Mutex<BTreeMap<String, Arc<T>>>);

impl<B: Backend> Default for LaidOut<B> {
    fn default() -> Self {
        Self { matrices: ByName(Mutex::default()), tables: ByName(Mutex::default()) }
    }
}

impl<B: Backend> LaidOut<B> {
    /// The matrix of this name, laid out now if it was not before.
    ///
    /// # Errors
    /// Those of `lay_out`.
    pub fn matrix(&self, name: String, lay_out: impl FnOnce() -> Result<B::Matrix>) -> Result<Arc<B::Matrix>> {
        self.matrices.get(name, lay_out)
    }

    /// The embedding table of this name, laid out now if it was not before.
    ///
    /// # Errors
    /// Those of `lay_out`.
    pub fn table(&self, name: String, lay_out: impl FnOnce() -> Result<B::Table>) -> Result<Arc<B::Table>> {
        self.tables.get(name, lay_out)
    }
}

impl<T> ByName<T> {
    fn get(&self, name: String, lay_out: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known().get(&name) {
            return Ok(kept.clone());
        }
        let made = Arc::new(lay_out()?);
        known().insert(name, made.clone());
        Ok(made)
    }
}
