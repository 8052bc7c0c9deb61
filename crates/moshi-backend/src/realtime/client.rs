//! What a caller of `/v1/realtime` says: JSON in text frames, read and checked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moshi_protocol::Steer;
use serde_json::{Map, Value};

use super::items::{LONGEST_ID, NewItem, assistant_words};
use super::problem::{Problem, shortened};

/// Pairs that the metadata of a response may have, and how long their names and values may be: the limits of the API.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// What the caller wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClientEvent {
    /// Change the settings.
    Update(Map<String, Value>),
    /// Hear this.
    Append(Vec<u8>),
    /// What was heard is a turn.
    Commit,
    /// Forget what was not heard yet.
    Clear,
    /// Say something.
    Create(NewResponse),
    /// Steer what the model says: see [`Steer`].
    Steer(Steer),
    /// Stop saying it.
    Cancel(Cancel),
    /// Keep this.
    CreateItem(NewItem),
    /// Show an item.
    Retrieve(String),
    /// Take an item away.
    Delete(String),
    /// The caller's player was stopped.
    Truncate(Truncation),
}

/// A response that the caller asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct NewResponse {
    /// It carries this.
    pub(super) metadata: Value,
    /// It says this; `None` for what the model likes.
    pub(super) words: Option<String>,
}

/// What is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cancel {
    /// The response that is open.
    Any,
    /// This one and no other.
    Response(String),
    /// What the caller's player holds, if anything.
    Player,
}

/// Where a player was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Truncation {
    /// What it played.
    pub(super) item_id: String,
    /// Which part of it.
    pub(super) content_index: u64,
    /// How much of it was heard.
    pub(super) audio_end_ms: u64,
}

/// One message, and the name that the caller gave it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    /// Given back in errors.
    pub(super) event_id: Option<String>,
    /// What is wanted, or what is wrong.
    pub(super) event: Result<ClientEvent, Problem>,
}

impl Request {
    /// Reads a text frame.
    pub(super) fn parse(text: &str) -> Self {
        let mut fields = match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Self::bad(Problem::new("invalid_json", "the message is no JSON object")),
            Err(error) => return Self::bad(Problem::new("invalid_json", format!("the message is no JSON: {error}"))),
        };
        let event_id = fields.get("event_id").and_then(Value::as_str);
        let event_id = event_id.filter(|id| id.chars().count() <= LONGEST_ID).map(str::to_owned);
        let event = match fields.remove("type") {
            Some(Value::String(kind)) => read(&kind, fields),
            Some(other) => Err(Problem::value("type", &other, "the name of an event")),
            None => Err(Problem::missing("type", "the message has no type")),
        };
        Self { event_id, event }
    }

    fn bad(problem: Problem) -> Self {
        Self { event_id: None, event: Err(problem) }
    }
}

fn read(kind: &str, mut fields: Map<String, Value>) -> Result<ClientEvent, Problem> {
    match kind {
        "session.update" => match fields.remove("session") {
            Some(Value::Object(session)) => Ok(ClientEvent::Update(session)),
            Some(other) => Err(Problem::value("session", &other, "an object")),
            None => Err(Problem::missing("session", "session.update has no session")),
        },
        "input_audio_buffer.append" => match fields.remove("audio") {
            Some(Value::String(audio)) => STANDARD
                .decode(audio)
                .map(ClientEvent::Append)
                .map_err(|error| Problem::of("invalid_value", "audio", format!("audio is no base64: {error}"))),
            Some(other) => Err(Problem::value("audio", &other, "a text of base64")),
            None => Err(Problem::missing("audio", "input_audio_buffer.append has no audio")),
        },
        "input_audio_buffer.commit" => Ok(ClientEvent::Commit),
        "input_audio_buffer.clear" => Ok(ClientEvent::Clear),
        "response.create" => read_response(&mut fields).map(ClientEvent::Create),
        "moshi.steer" => match Steer::parse(&steering(fields).to_string()) {
            Some(steer) => steer.map(ClientEvent::Steer).map_err(|why| Problem::of("invalid_value", "steer", why)),
            None => Err(Problem::missing("steer", "moshi.steer has no steer: say, force, add or watch")),
        },
        "response.cancel" => Ok(ClientEvent::Cancel(match fields.remove("response_id") {
            None | Some(Value::Null) => Cancel::Any,
            Some(Value::String(id)) => Cancel::Response(id),
            Some(other) => return Err(Problem::value("response_id", &other, "the id of a response")),
        })),
        // With a WebSocket the player is the caller's own; what this can be about is the response that fills it.
        "output_audio_buffer.clear" => Ok(ClientEvent::Cancel(Cancel::Player)),
        "conversation.item.truncate" => read_truncation(&fields),
        "conversation.item.create" => NewItem::read(fields).map(ClientEvent::CreateItem),
        "conversation.item.retrieve" => read_item_id(&fields).map(ClientEvent::Retrieve),
        "conversation.item.delete" => read_item_id(&fields).map(ClientEvent::Delete),
        other => Err(Problem::of("unknown_event", "type", format!("no event is called \"{}\"", shortened(other)))),
    }
}

/// The fields that steer: without those that any event may have.
fn steering(mut fields: Map<String, Value>) -> Value {
    fields.remove("event_id");
    Value::Object(fields)
}

/// The response that `response.create` asks for.
fn read_response(fields: &mut Map<String, Value>) -> Result<NewResponse, Problem> {
    let mut response = match fields.remove("response") {
        None | Some(Value::Null) => return Ok(NewResponse::default()),
        Some(Value::Object(response)) => response,
        Some(other) => return Err(Problem::value("response", &other, "an object")),
    };
    let words = match response.get("input") {
        None | Some(Value::Null) => None,
        Some(Value::Array(items)) => {
            let words: Vec<String> = items.iter().filter_map(|item| assistant_words(item.as_object()?)).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        Some(other) => return Err(Problem::value("response.input", other, "an array of items")),
    };
    Ok(NewResponse { metadata: read_metadata(&mut response)?, words })
}

/// The metadata of a response; null if it has none.
fn read_metadata(response: &mut Map<String, Value>) -> Result<Value, Problem> {
    let found = response.remove("metadata").unwrap_or_default();
    let (pairs, name, value) = METADATA;
    let fits = |text: &str, most: usize| text.chars().count() <= most;
    let good = match &found {
        Value::Null => true,
        Value::Object(map) if map.len() <= pairs => {
            map.iter().all(|(key, text)| fits(key, name) && text.as_str().is_some_and(|text| fits(text, value)))
        }
        _ => false,
    };
    let expected = || format!("an object of at most {pairs} texts of {value} characters, with names of {name}");
    if good { Ok(found) } else { Err(Problem::value("response.metadata", &found, &expected())) }
}

fn read_item_id(fields: &Map<String, Value>) -> Result<String, Problem> {
    let found = fields.get("item_id").unwrap_or(&Value::Null);
    let id = found.as_str().filter(|id| id.len() <= LONGEST_ID);
    id.map(str::to_owned).ok_or_else(|| Problem::value("item_id", found, "the id of an item"))
}

fn read_truncation(fields: &Map<String, Value>) -> Result<ClientEvent, Problem> {
    let number = |name: &str| {
        let found = fields.get(name).unwrap_or(&Value::Null);
        found.as_u64().ok_or_else(|| Problem::value(name, found, "a whole number"))
    };
    Ok(ClientEvent::Truncate(Truncation {
        item_id: read_item_id(fields)?,
        content_index: number("content_index")?,
        audio_end_ms: number("audio_end_ms")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read() {
        let event = |text: &str| Request::parse(text).event.unwrap();
        assert_eq!(event(r#"{"type":"input_audio_buffer.append","audio":"AQID"}"#), ClientEvent::Append(vec![1, 2, 3]));
        assert_eq!(
            event(r#"{"type":"response.create","response":{"x":1}}"#),
            ClientEvent::Create(NewResponse::default())
        );
        let mine = serde_json::json!({ "client_event_id": "e_1" });
        let create = serde_json::json!({ "type": "response.create", "response": { "metadata": mine } });
        assert_eq!(event(&create.to_string()), ClientEvent::Create(NewResponse { metadata: mine, words: None }));
        assert_eq!(event(r#"{"type":"response.cancel"}"#), ClientEvent::Cancel(Cancel::Any));
        assert!(matches!(event(r#"{"type":"session.update","session":{}}"#), ClientEvent::Update(_)));
    }

    #[test]
    fn what_is_wrong_is_named_together_with_the_callers_name_for_it() {
        for (text, code, words) in [
            ("{", "invalid_json", "no JSON"),
            ("[]", "invalid_json", "object"),
            ("{}", "missing_required_parameter", "type"),
            (r#"{"type":3}"#, "invalid_value", "type is 3"),
            (r#"{"type":"input_audio_buffer.append","audio":"*"}"#, "invalid_value", "base64"),
            (r#"{"type":"input_audio_buffer.append"}"#, "missing_required_parameter", "audio"),
            (r#"{"type":"session.update","session":1}"#, "invalid_value", "session is 1"),
            (r#"{"type":"conversation.item.create","item":{}}"#, "missing_required_parameter", "no type"),
            (r#"{"type":"conversation.item.retrieve"}"#, "invalid_value", "item_id is null"),
            (r#"{"type":"conversation.item.delete","item_id":1}"#, "invalid_value", "item_id is 1"),
            (r#"{"type":"response.cancel","response_id":1}"#, "invalid_value", "response_id is 1"),
            (r#"{"type":"response.create","response":1}"#, "invalid_value", "response is 1"),
            (r#"{"type":"response.create","response":{"metadata":[]}}"#, "invalid_value", "response.metadata is []"),
            (r#"{"type":"response.create","response":{"metadata":{"a":1}}}"#, "invalid_value", "16 texts"),
            (r#"{"type":"conversation.item.truncate","item_id":7}"#, "invalid_value", "item_id is 7"),
            (r#"{"type":"ümlaut.ümlaut"}"#, "unknown_event", "ümlaut"),
        ] {
            let problem = Request::parse(text).event.unwrap_err();
            assert!(problem.code == code && problem.message.contains(words), "{text}: {problem:?}");
        }
        let named = Request::parse(r#"{"type":"no","event_id":"mine"}"#);
        assert_eq!(named.event_id.as_deref(), Some("mine"));
        let long = Request::parse(&format!(r#"{{"type":"{}"}}"#, "ü".repeat(10_000))).event.unwrap_err();
        assert!(long.message.len() < 300, "errors are short");
    }
}
