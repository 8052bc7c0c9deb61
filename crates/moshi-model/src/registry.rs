//! From a device's name to the executor that runs on it: the one place that names them.
//!
//! To add an executor, give it a name in [`Device`] and an arm in [`on_device`].

use std::str::FromStr;

#[cfg(feature = "reference")]
use moshi_candle::Candle;
use moshi_cpu::Cpu;
use moshi_cpu::cores::Cores;
use moshi_engine::EngineError;
use moshi_nn::Backend;

/// Which executor runs the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Device {
    /// The fastest that this machine and build have.
    #[default]
    Auto,
    /// Our own kernels on the processor.
    Cpu,
    /// The reference executor on the processor: slow, and the definition of all others.
    Reference,
    /// An NVIDIA card.
    Cuda,
    /// An Apple card.
    Metal,
}

impl Device {
    /// All devices, by name.
    const NAMED: [(&'static str, Self); 5] = [
        ("auto", Self::Auto),
        ("cpu", Self::Cpu),
        ("cuda", Self::Cuda),
        ("metal", Self::Metal),
        ("reference", Self::Reference),
    ];

    /// Whether this build has an executor for it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Auto | Self::Cpu => true,
            Self::Reference => cfg!(feature = "reference"),
            Self::Cuda | Self::Metal => false,
        }
    }

    /// As users write it.
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, device)| *device == self).map_or("auto", |(name, _)| name)
    }
}

impl FromStr for Device {
    type Err = EngineError;

    fn from_str(s: &str) -> Result<Self, EngineError> {
        let found = Self::NAMED.iter().find(|(name, _)| *name == s);
        found.map(|(_, device)| *device).ok_or_else(|| EngineError::Parameter {
            name: "device",
            found: format!("{s:?}"),
            expected: "auto, cpu, cuda, metal or reference".to_owned(),
        })
    }
}

/// Work that runs on whichever executor there is.
pub trait OnExecutor {
    /// What comes of it.
    type Output;
    /// Does the work.
    ///
    /// # Errors
    /// Its own.
    fn run<B: Backend>(self, executor: B) -> Result<Self::Output, EngineError>;
}

/// Does `work` on the executor of a device; `cores` says on which threads and instruction set, where that is the
/// processor's.
///
/// # Errors
/// [`EngineError::Load`] when the device is not in this build, and those of the work.
pub fn on_device<W: OnExecutor>(device: Device, cores: Cores, work: W) -> Result<W::Output, EngineError> {
    match device {
        Device::Auto | Device::Cpu => work.run(Cpu::on(cores)),
        #[cfg(feature = "reference")]
        Device::Reference => work.run(Candle::cpu()),
        missing => Err(EngineError::Load(format!(
            "device \"{}\" is not in this build; use \"cpu\", or \"auto\" for what there is",
            missing.name()
        ))),
    }
}
