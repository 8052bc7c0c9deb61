//! The reference executor on candle tensors: plain, f32, and the definition of every operation.

/// Executes on a candle device.
#[derive(Debug, Clone)]
pub struct Candle {
    device: candle_core::Device,
}

impl Candle {
    /// The reference executor on `device`.
    pub fn new(device: candle_core::Device) -> Self {
        Self { device }
    }

    /// The device of all buffers.
    pub fn device(&self) -> &candle_core::Device {
        &self.device
    }
}
