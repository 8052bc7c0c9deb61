//! A loaded model, shared by everybody who has rows of it.

use std::sync::Arc;

use moshi_engine::{EngineError, ForwardLogits, FrameModel, GoOn, ModelInfo, SpeechModel};
use moshi_lm::{Place, Watcher};
use moshi_nn::Backend;

use crate::choices::adapter;
use crate::error::told;
use crate::moshi::{Moshi, MoshiRows};

/// The model as the engine knows it.
pub(crate) struct SharedMoshi<B: Backend>(pub(crate) Arc<Moshi<B>>);

impl<B: Backend> SpeechModel for SharedMoshi<B> {
    fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    fn new_rows(&self, rows: usize) -> Result<Box<dyn FrameModel>, EngineError> {
        self.0.info.memory.check(rows)?;
        Ok(Box::new(MoshiRows::new(self.0.clone(), rows)?))
    }

    fn forward_while(&self, codes: &[i32], steps: usize, go_on: &mut GoOn<'_>) -> Result<ForwardLogits, EngineError> {
        self.forward_adapted(codes, steps, None, go_on)
    }

    fn forward_adapted(
        &self,
        codes: &[i32],
        steps: usize,
        name: Option<&str>,
        go_on: &mut GoOn<'_>,
    ) -> Result<ForwardLogits, EngineError> {
        let adapter = adapter(self.0.lm.adapters(), name)?;
        if steps == 0 {
            return Ok(ForwardLogits::default());
        }
        let mut asking = Asking { go_on, stopped: false };
        let logits = self.0.lm.forward_adapted(codes, steps, adapter, &mut asking);
        if asking.stopped {
            return Err(EngineError::Stopped);
        }
        let logits = logits.map_err(told)?;
        Ok(ForwardLogits { steps, text: logits.text_logits, audio: logits.audio_logits })
    }
}

/// Asks at every place of a step whether to go on.
struct Asking<'a, 'b> {
    go_on: &'a mut GoOn<'b>,
    stopped: bool,
}

impl<B: Backend> Watcher<B> for Asking<'_, '_> {
    fn at(&mut self, _: Place, _: &B::Buf) -> moshi_nn::Result<()> {
        self.stopped = !(self.go_on)();
        if self.stopped { Err(moshi_nn::Error::Source("stopped by the caller".into())) } else { Ok(()) }
    }
}
