//! What a caller may set in its session, in the spelling of today and in that of the beta; and how a session is described.

use moshi_protocol::Notice;
use serde_json::{Map, Value, json};

use super::format::AudioFormat;
use super::problem::Problem;
use crate::call::NamedFormat;
use crate::config::Part;

/// The spelling that the caller wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Today's.
    General,
    /// That of `OpenAI-Beta: realtime=v1`.
    Beta,
}

/// What is in effect.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Settings {
    /// What the caller sends.
    pub(super) input: AudioFormat,
    /// What it hears.
    pub(super) output: AudioFormat,
    /// Whether it is told when it begins and ends to speak.
    pub(super) turns: Turns,
    /// Who the model is, where it plays roles: its instructions and voice.
    pub(super) part: Part,
}

/// Who commits the input.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Turns {
    /// The server, when the caller pauses.
    Detected(TurnDetection),
    /// The caller.
    Manual,
}

/// How the caller's turns are noticed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TurnDetection {
    /// 0 to 1: how loud speech is.
    pub(super) threshold: f32,
    /// How much earlier than its first sound a turn is said to begin.
    pub(super) prefix_padding_ms: u64,
    /// How long a pause ends it.
    pub(super) silence_duration_ms: u64,
}

/// What describes a session besides its settings.
#[derive(Debug)]
pub(super) struct About {
    /// Its name.
    pub(super) id: String,
    /// The model's name.
    pub(super) model: String,
    /// The sampling temperature of the voice.
    pub(super) temperature: f32,
    /// What the caller should know about its call.
    pub(super) notices: Vec<Notice>,
}

impl Default for Turns {
    fn default() -> Self {
        Self::Detected(TurnDetection::default())
    }
}

impl Default for TurnDetection {
    fn default() -> Self {
        Self { threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 500 }
    }
}

impl Turns {
    /// How turns are noticed, if they are.
    pub(super) fn detection(&self) -> Option<&TurnDetection> {
        match self {
            Self::Detected(detection) => Some(detection),
            Self::Manual => None,
        }
    }
}

impl Settings {
    /// These settings with what a `session.update` changes. Fields that mean nothing to this server (tools) are
    /// passed over.
    ///
    /// # Errors
    /// [`Problem`] names the field; nothing has changed then.
    pub(super) fn updated(&self, session: &Map<String, Value>) -> Result<Self, Problem> {
        let mut new = self.clone();
        let nested = |path: &[&str]| {
            let mut fields = session;
            for name in &path[..path.len() - 1] {
                fields = fields.get(*name)?.as_object()?;
            }
            fields.get(path[path.len() - 1])
        };
        for (path, is_input) in [
            (&["input_audio_format"][..], true),
            (&["audio", "input", "format"][..], true),
            (&["output_audio_format"][..], false),
            (&["audio", "output", "format"][..], false),
        ] {
            if let Some(value) = nested(path).filter(|value| !value.is_null()) {
                let format = read_format(value, &format!("session.{}", path.join(".")))?;
                *(if is_input { &mut new.input } else { &mut new.output }) = format;
            }
        }
        for path in [&["turn_detection"][..], &["audio", "input", "turn_detection"][..]] {
            if let Some(value) = nested(path) {
                new.turns = read_turns(value, &format!("session.{}", path.join(".")))?;
            }
        }
        for (path, is_voice) in
            [(&["instructions"][..], false), (&["voice"][..], true), (&["audio", "output", "voice"][..], true)]
        {
            let text = |value: &Value| value.as_str().or_else(|| value.get("id")?.as_str()).map(str::to_owned);
            if let Some(value) = nested(path).filter(|value| !value.is_null()) {
                let param = || format!("session.{}", path.join("."));
                let text = text(value).ok_or_else(|| Problem::value(&param(), value, "a text"))?;
                let chosen = Some(text).filter(|text| !text.is_empty());
                *(if is_voice { &mut new.part.voice } else { &mut new.part.role }) = chosen;
            }
        }
        Ok(new)
    }

    /// The session as the caller is told of it.
    pub(super) fn describe(&self, dialect: Dialect, about: &About) -> Value {
        let turns = self.turns.detection().map(|turns| {
            json!({
                "type": "server_vad",
                "threshold": turns.threshold,
                "prefix_padding_ms": turns.prefix_padding_ms,
                "silence_duration_ms": turns.silence_duration_ms,
                "create_response": true,
                "interrupt_response": false,
            })
        });
        let voice = self.part.voice.as_ref().unwrap_or(&about.model);
        let role = self.part.role.as_deref().unwrap_or_default();
        let mut session = match dialect {
            Dialect::General => json!({
                "type": "realtime",
                "object": "realtime.session",
                "id": about.id,
                "model": about.model,
                "output_modalities": ["audio"],
                "instructions": role,
                "tools": [],
                "tool_choice": "none",
                "max_output_tokens": "inf",
                "audio": {
                    "input": {
                        "format": self.input.object(),
                        "turn_detection": turns,
                        "transcription": null,
                        "noise_reduction": null,
                    },
                    "output": { "format": self.output.object(), "voice": voice, "speed": 1.0 },
                },
            }),
            Dialect::Beta => json!({
                "object": "realtime.session",
                "id": about.id,
                "model": about.model,
                "modalities": ["audio", "text"],
                "instructions": role,
                "voice": voice,
                "input_audio_format": self.input.short_name(),
                "output_audio_format": self.output.short_name(),
                "input_audio_transcription": null,
                "turn_detection": turns,
                "tools": [],
                "tool_choice": "none",
                "temperature": about.temperature,
                "max_response_output_tokens": "inf",
            }),
        };
        if !about.notices.is_empty() {
            session["notices"] = json!(about.notices);
        }
        session
    }
}

fn read_format(value: &Value, param: &str) -> Result<AudioFormat, Problem> {
    let name = value.as_str().or_else(|| value.get("type")?.as_str());
    let expected = "audio/pcm, audio/pcmu or audio/pcma (pcm16, g711_ulaw or g711_alaw in the beta)";
    let format = name.and_then(AudioFormat::named).ok_or_else(|| Problem::value(param, value, expected))?;
    match value.get("rate").filter(|rate| !rate.is_null()) {
        Some(rate) if rate.as_f64() != Some(f64::from(format.rate())) => {
            Err(Problem::value(&format!("{param}.rate"), rate, &format!("{} for this format", format.rate())))
        }
        _ => Ok(format),
    }
}

fn read_turns(value: &Value, param: &str) -> Result<Turns, Problem> {
    if value.is_null() {
        return Ok(Turns::Manual);
    }
    // Semantic detection is a service of its own; pauses must do.
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    if !["server_vad", "semantic_vad"].contains(&kind) {
        return Err(Problem::value(param, value, "null, or an object of type server_vad or semantic_vad"));
    }
    let number = |name: &str, largest: f64, otherwise: f64| match value.get(name).filter(|value| !value.is_null()) {
        None => Ok(otherwise),
        Some(found) => found
            .as_f64()
            .filter(|n| (0.0..=largest).contains(n))
            .ok_or_else(|| Problem::value(&format!("{param}.{name}"), found, &format!("a number from 0 to {largest}"))),
    };
    let usual = TurnDetection::default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: 0 to 10,000")]
    let millis = |name: &str, otherwise: u64| number(name, 10_000.0, otherwise as f64).map(|ms| ms as u64);
    #[expect(clippy::cast_possible_truncation, reason = "checked: 0 to 1")]
    let threshold = number("threshold", 1.0, f64::from(usual.threshold))? as f32;
    Ok(Turns::Detected(TurnDetection {
        threshold,
        prefix_padding_ms: millis("prefix_padding_ms", usual.prefix_padding_ms)?,
        silence_duration_ms: millis("silence_duration_ms", usual.silence_duration_ms)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(session: Value) -> Result<Settings, Problem> {
        Settings::default().updated(session.as_object().unwrap())
    }

    #[test]
    fn both_spellings_set_the_same() {
        let today = update(json!({ "type": "realtime", "instructions": "Be brief.", "audio": {
            "input": { "format": { "type": "audio/pcmu" }, "turn_detection": null },
            "output": { "format": { "type": "audio/pcma" } } } }));
        let beta = update(json!({ "instructions": "Be brief.", "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_alaw", "turn_detection": null }));
        let part = Part { voice: None, role: Some("Be brief.".to_owned()) };
        let expected = Settings { input: AudioFormat::Ulaw, output: AudioFormat::Alaw, turns: Turns::Manual, part };
        assert_eq!((today.unwrap(), beta.unwrap()), (expected.clone(), expected));
        assert_eq!(update(json!({})).unwrap(), Settings::default());
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        for (session, param) in [
            (json!({ "input_audio_format": "mp3" }), "session.input_audio_format"),
            (json!({ "audio": { "output": { "format": { "type": "audio/opus" } } } }), "session.audio.output.format"),
            (
                json!({ "audio": { "input": { "format": { "type": "audio/pcm", "rate": 16_000 } } } }),
                "session.audio.input.format.rate",
            ),
            (json!({ "turn_detection": { "type": "none" } }), "session.turn_detection"),
            (json!({ "turn_detection": { "type": "server_vad", "threshold": 2 } }), "session.turn_detection.threshold"),
        ] {
            let problem = update(session).unwrap_err();
            assert_eq!((problem.code, problem.param.as_deref()), ("invalid_value", Some(param)), "{problem:?}");
            assert!(problem.message.contains("expected"), "{problem:?}");
        }
    }

    #[test]
    fn a_session_is_described_in_its_dialect() {
        let about = About { id: "sess_1".to_owned(), model: "m".to_owned(), temperature: 0.5, notices: Vec::new() };
        let today = Settings::default().describe(Dialect::General, &about);
        assert_eq!(today["audio"]["input"]["format"], json!({ "type": "audio/pcm", "rate": 24_000 }));
        assert_eq!(today["audio"]["input"]["turn_detection"]["silence_duration_ms"], 500);
        let beta = Settings { turns: Turns::Manual, ..Settings::default() }.describe(Dialect::Beta, &about);
        assert_eq!((&beta["output_audio_format"], &beta["turn_detection"]), (&json!("pcm16"), &Value::Null));
    }
}
