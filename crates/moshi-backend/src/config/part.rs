//! Who a model is in a conversation, where it plays roles.

use super::ConfigError;
use super::reader::Reader;

/// A voice and a role; what is left open is the server's choice, or the model's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The name of a voice.
    pub voice: Option<String>,
    /// The role, in words.
    pub role: Option<String>,
}

impl Part {
    /// Reads the keys of the configuration file.
    pub(super) fn read(r: &mut Reader) -> Result<Self, ConfigError> {
        Ok(Self { voice: r.text("voice")?, role: r.text("role")? })
    }
}
