//! How a caller steers what the model says: JSON in a metadata message of its own.

use serde::Deserialize;

/// One way to steer; every row of numbers is for one step, 80 ms.
///
/// ```
/// use moshi_protocol::{SayWhen, Steer};
/// let steer = Steer::parse(r#"{"steer": "say", "text": "One moment, please.", "when": "quiet"}"#);
/// assert_eq!(steer, Some(Ok(Steer::Say { text: "One moment, please.".to_owned(), when: SayWhen::Quiet })));
/// assert_eq!(Steer::parse(r#"{"model": "what a server tells"}"#), None);
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "steer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Steer {
    /// Say this next, in the model's own voice.
    Say {
        /// What.
        text: String,
        /// When.
        #[serde(default)]
        when: SayWhen,
    },
    /// The next frames must say this.
    Force {
        /// One row a frame: a text token, then codes of the first codebooks; -1 is nothing, null is left to the model, and so
        /// is what a row leaves out.
        frames: Vec<Vec<Option<i32>>>,
    },
    /// Add vectors to what the temporal transformer reads in the next steps.
    Add {
        /// Base64 of `[steps, width]` floats of 32 bits, little endian; as wide as the model.
        vectors: String,
    },
    /// Tell whenever one of these text tokens is said, as `{"token": 4, "step": 17}` in a metadata message. Takes the place of
    /// those that were watched for before.
    Watch {
        /// The tokens.
        tokens: Vec<i32>,
    },
}

/// When a text is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SayWhen {
    /// At once.
    #[default]
    Now,
    /// Once the model has nothing of its own to say.
    Quiet,
}

impl Steer {
    /// Reads a metadata message; `None` for one that does not steer. What is wrong with one that does is told in words.
    pub fn parse(json: &str) -> Option<Result<Self, String>> {
        let value: serde_json::Value = serde_json::from_str(json).ok()?;
        value.get("steer")?;
        let fault = |error: serde_json::Error| {
            format!("this steers nothing: {error}; expected \"steer\" to be say, force, add or watch, with its fields")
        };
        Some(serde_json::from_value(value).map_err(fault))
    }
}
