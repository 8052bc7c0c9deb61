//! The executor and its device.

use candle_core::Device;
use moshi_nn::backend::Meter;

/// Executes on a candle device.
#[derive(Debug, Clone)]
pub struct Candle {
    pub(crate) device: Device,
    pub(crate) meter: Meter,
}

impl Candle {
    /// The reference executor on `device`.
    pub fn new(device: Device) -> Self {
        Self { device, meter: Meter::default() }
    }

    /// The reference executor on the processor.
    pub fn cpu() -> Self {
        Self::new(Device::Cpu)
    }

    /// The device of all buffers.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
