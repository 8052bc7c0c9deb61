//! Telling a row its conditions.

use moshi_nn::Backend;
use moshi_nn::layers::{CrossMemory, StreamState};

use crate::conditions::{ConditionValues, Conditions, Fused, MEMORY_PLACES, Told, add_positions};
use crate::{Lm, LmError, LmState, Result};

impl<B: Backend> Lm<B> {
    /// What values come to in this model: the sum, and the places that its layers attend to.
    ///
    /// # Errors
    /// [`LmError::Condition`] for a name or value that the model does not know; failures of the device.
    pub fn fuse(&self, values: &ConditionValues) -> Result<Fused> {
        let (backend, config) = (&self.backend, &self.config);
        if let Some(name) = values.0.keys().find(|name| config.conditioners.iter().all(|known| known.name != **name)) {
            let names: Vec<_> = config.conditioners.iter().map(|known| &known.name).collect();
            let (found, expected) = ("a value".to_owned(), format!("a condition of the model, which has {names:?}"));
            return Err(LmError::Condition { name: name.clone(), found, expected });
        }
        let mut places = Vec::new();
        for name in &config.fuser.cross {
            places.extend(self.conditioners.vectors(backend, name, values)?);
        }
        if places.len() > MEMORY_PLACES * config.dim {
            let (found, expected) =
                (format!("{} vectors", places.len() / config.dim), format!("at most {MEMORY_PLACES}"));
            return Err(LmError::Condition { name: config.fuser.cross.join(", "), found, expected });
        }
        if let Some(scale) = config.fuser.cross_positions {
            add_positions(&mut places, config.dim, scale);
        }
        Ok(Fused { sum: self.conditioners.sum(backend, config, values)?, places })
    }

    /// What a session that has these values is told, for any number of rows: keys and values of all layers are computed
    /// here.
    ///
    /// # Errors
    /// As [`Lm::fuse`].
    pub fn conditions(&self, values: &ConditionValues) -> Result<Conditions<B>> {
        let Fused { sum, places } = self.fuse(values)?;
        let mut adapters = self.backend.ids(1)?;
        self.backend.upload_ids(&[0], &mut adapters)?;
        let memory = || self.temporal.remember(&self.backend, &places, &adapters);
        Ok(Conditions { sum, memory: self.config.cross_attention.then(memory).transpose()? })
    }

    /// Tells a row what it is from its next step on. A reset leaves that as it is, a copy takes it along.
    ///
    /// # Errors
    /// A row that the state does not have; failures of the device.
    pub fn set_conditions(&self, state: &mut LmState<B>, row: usize, conditions: &Conditions<B>) -> Result<()> {
        state.told.set(&self.backend, row, &conditions.sum)?;
        self.recall(state.stack.cross(), row, conditions)
    }

    pub(crate) fn recall(&self, memory: &mut CrossMemory<B>, row: usize, conditions: &Conditions<B>) -> Result<()> {
        match &conditions.memory {
            Some(src) => Ok(memory.copy_row(&self.backend, row, src, 0)?),
            None => Ok(()),
        }
    }

    /// What is added to the input of `rows` rows.
    pub(crate) fn told(&self, rows: usize) -> Result<Told<B>> {
        let absent = &self.conditioners.absent;
        let host = absent.repeat(rows);
        let mut sums = (!host.is_empty()).then(|| self.backend.buf(host.len())).transpose()?;
        if let Some(sums) = &mut sums {
            self.backend.upload(&host, sums)?;
        }
        Ok(Told { dim: absent.len(), host, sums })
    }
}
