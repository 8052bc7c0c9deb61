//! What a caller of `/v1/realtime` is told: events with their names, numbers and ids, in the caller's dialect.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::items::{Conversation, NewItem};
use super::problem::Problem;
use super::settings::{About, Dialect, Settings};

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The model paused.
    Completed,
    /// The caller did not want to hear more.
    Cancelled,
}

/// Writes events, as JSON.
#[derive(Debug)]
pub(super) struct EventWriter {
    dialect: Dialect,
    /// Makes ids differ between sessions.
    salt: u64,
    count: u64,
    conversation: Conversation,
    /// Metadata of the response that was asked for and has not begun.
    asked: Option<Value>,
    open: Option<Response>,
}

#[derive(Debug)]
struct Response {
    id: String,
    item: String,
    /// What the caller gave it; none of a response that came unasked.
    metadata: Option<Value>,
    transcript: String,
}

impl EventWriter {
    /// For one session; `salt` makes its ids differ from those of others.
    pub(super) fn new(dialect: Dialect, salt: u64) -> Self {
        Self { dialect, salt, count: 0, conversation: Conversation::default(), asked: None, open: None }
    }

    /// A fresh id.
    pub(super) fn id(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}_{:016x}{:06x}", self.salt, self.count)
    }

    /// An event as JSON. `fields` is an object.
    fn event(&mut self, kind: &str, mut fields: Value) -> String {
        fields["type"] = kind.into();
        fields["event_id"] = self.id("event").into();
        fields.to_string()
    }

    /// The session, when it begins and when it changes.
    pub(super) fn session(&mut self, kind: &str, settings: &Settings, about: &About) -> String {
        let session = settings.describe(self.dialect, about);
        self.event(kind, json!({ "session": session }))
    }

    /// An event without fields.
    pub(super) fn plain(&mut self, kind: &str) -> String {
        self.event(kind, json!({}))
    }

    /// The caller did something wrong.
    pub(super) fn problem(&mut self, problem: &Problem, event_id: Option<&str>) -> String {
        self.event(
            "error",
            json!({ "error": {
                "type": "invalid_request_error",
                "code": problem.code,
                "message": problem.message,
                "param": problem.param,
                "event_id": event_id,
            } }),
        )
    }

    /// Something went wrong here, and the call ends.
    pub(super) fn failure(&mut self, code: &str, message: &str) -> String {
        let error =
            json!({ "type": "server_error", "code": code, "message": message, "param": null, "event_id": null });
        self.event("error", json!({ "error": error }))
    }

    /// The caller began to speak, in the item of this id.
    pub(super) fn speech_started(&mut self, item: &str, at_ms: u64) -> String {
        self.event("input_audio_buffer.speech_started", json!({ "audio_start_ms": at_ms, "item_id": item }))
    }

    /// The caller has stopped.
    pub(super) fn speech_stopped(&mut self, item: &str, at_ms: u64) -> String {
        self.event("input_audio_buffer.speech_stopped", json!({ "audio_end_ms": at_ms, "item_id": item }))
    }

    /// What was heard is an item of the conversation.
    pub(super) fn committed(&mut self, item: &str) -> Vec<String> {
        let previous = self.conversation.last().map(str::to_owned);
        let committed = json!({ "item_id": item, "previous_item_id": previous });
        let committed = self.event("input_audio_buffer.committed", committed);
        let object = json!({
            "id": item, "object": "realtime.item", "type": "message", "status": "completed", "role": "user",
            "content": [{ "type": "input_audio", "transcript": null }],
        });
        let mut events = vec![committed];
        events.push(self.item_added(&object));
        events.extend(self.item_done(&object));
        events
    }

    /// The player stopped within an item.
    pub(super) fn truncated(&mut self, item_id: &str, content_index: u64, audio_end_ms: u64) -> String {
        let fields = json!({ "item_id": item_id, "content_index": content_index, "audio_end_ms": audio_end_ms });
        self.event("conversation.item.truncated", fields)
    }

    /// A text token that the caller watches for was said.
    pub(super) fn token(&mut self, token: i32, step: u64) -> String {
        self.event("moshi.token", json!({ "token": token, "step": step }))
    }

    /// Keeps an item of the caller's; the model hears nothing of it.
    ///
    /// # Errors
    /// [`Problem`] when it cannot have the id or the place that it wants.
    pub(super) fn item_created(&mut self, new: NewItem) -> Result<Vec<String>, Problem> {
        let NewItem { mut item, after, .. } = new;
        let id = item.get("id").and_then(Value::as_str).map_or_else(|| self.id("item"), str::to_owned);
        item.insert("id".to_owned(), id.as_str().into());
        let item = Value::Object(item);
        let previous = self.conversation.put(&id, item.clone(), after.as_deref())?;
        let mut events = vec![self.told_of(&item, previous)];
        events.extend(self.item_done(&item));
        Ok(events)
    }

    /// Shows an item.
    ///
    /// # Errors
    /// [`Problem`] when there is none of this id.
    pub(super) fn item_retrieved(&mut self, id: &str) -> Result<Vec<String>, Problem> {
        let item = self.conversation.retrieve(id)?.clone();
        Ok(vec![self.event("conversation.item.retrieved", json!({ "item": item }))])
    }

    /// Takes an item away; the model remembers what it heard.
    ///
    /// # Errors
    /// [`Problem`] when there is none of this id.
    pub(super) fn item_deleted(&mut self, id: &str) -> Result<Vec<String>, Problem> {
        self.conversation.delete(id)?;
        Ok(vec![self.event("conversation.item.deleted", json!({ "item_id": id }))])
    }

    /// The next response is the one that the caller asks for, with this metadata.
    pub(super) fn ask(&mut self, metadata: Value) {
        self.asked = Some(metadata);
    }

    /// Whether the response that is open was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.metadata.is_some())
    }

    /// Whether the response that is open has this id.
    pub(super) fn is_open(&self, id: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.id == id)
    }

    /// The model begins to speak.
    pub(super) fn begin(&mut self) -> Vec<String> {
        let metadata = self.asked.take();
        let open = Response { id: self.id("resp"), item: self.id("item"), metadata, transcript: String::new() };
        let (id, item) = (open.id.clone(), self.item(&open, "in_progress"));
        let part = self.at(&open, json!({ "part": { "type": "audio", "transcript": "" } }));
        let response = self.response(&open, "in_progress", &[]);
        self.open = Some(open);
        let mut events = vec![self.event("response.created", json!({ "response": response }))];
        let fields = json!({ "response_id": id, "output_index": 0, "item": item });
        events.push(self.event("response.output_item.added", fields));
        events.push(self.item_added(&item));
        events.push(self.event("response.content_part.added", part));
        events
    }

    /// A piece of the model's voice; none while no response is open.
    pub(super) fn voice(&mut self, bytes: &[u8]) -> Option<String> {
        let fields = self.at(self.open.as_ref()?, json!({ "delta": STANDARD.encode(bytes) }));
        Some(self.event(&format!("{}.delta", self.audio()), fields))
    }

    /// A piece of its words; none while no response is open.
    pub(super) fn words(&mut self, words: &str) -> Option<String> {
        self.open.as_mut()?.transcript.push_str(words);
        let fields = self.at(self.open.as_ref()?, json!({ "delta": words }));
        Some(self.event(&format!("{}_transcript.delta", self.audio()), fields))
    }

    /// The model has spoken; nothing while no response is open.
    pub(super) fn end(&mut self, outcome: Outcome) -> Vec<String> {
        let Some(open) = self.open.take() else { return Vec::new() };
        let (response_status, item_status) = match outcome {
            Outcome::Completed => ("completed", "completed"),
            Outcome::Cancelled => ("cancelled", "incomplete"),
        };
        let item = self.item(&open, item_status);
        let audio = self.audio();
        let spoken = self.at(&open, json!({ "transcript": open.transcript }));
        let part = self.at(&open, json!({ "part": { "type": "audio", "transcript": open.transcript } }));
        let done = self.at(&open, json!({}));
        let mut events = vec![
            self.event(&format!("{audio}.done"), done),
            self.event(&format!("{audio}_transcript.done"), spoken),
            self.event("response.content_part.done", part),
        ];
        events.extend(self.item_done(&item));
        let fields = json!({ "response_id": open.id, "output_index": 0, "item": item });
        events.push(self.event("response.output_item.done", fields));
        let mut response = self.response(&open, response_status, &[item]);
        if outcome == Outcome::Cancelled {
            response["status_details"] = json!({ "type": "cancelled", "reason": "client_cancelled" });
        }
        events.push(self.event("response.done", json!({ "response": response })));
        events
    }

    /// The stem of the names that the two dialects spell differently.
    fn audio(&self) -> &'static str {
        match self.dialect {
            Dialect::General => "response.output_audio",
            Dialect::Beta => "response.audio",
        }
    }

    /// Fields of an event about the only part of a response.
    fn at(&self, response: &Response, mut fields: Value) -> Value {
        fields["response_id"] = response.id.as_str().into();
        fields["item_id"] = response.item.as_str().into();
        fields["output_index"] = 0.into();
        fields["content_index"] = 0.into();
        fields
    }

    fn item(&self, response: &Response, status: &str) -> Value {
        let kind = if self.dialect == Dialect::Beta { "audio" } else { "output_audio" };
        let begun = status != "in_progress";
        let content = if begun { json!([{ "type": kind, "transcript": response.transcript }]) } else { json!([]) };
        json!({
            "id": response.item, "object": "realtime.item", "type": "message", "status": status,
            "role": "assistant", "content": content,
        })
    }

    fn response(&self, response: &Response, status: &str, output: &[Value]) -> Value {
        let modalities = if self.dialect == Dialect::Beta { "modalities" } else { "output_modalities" };
        json!({
            "id": response.id, "object": "realtime.response", "status": status, "status_details": null,
            "output": output, "usage": null, "metadata": response.metadata, modalities: ["audio"],
        })
    }

    /// An item that the server makes.
    fn item_added(&mut self, item: &Value) -> String {
        let previous = self.conversation.last().map(str::to_owned);
        self.conversation.push(item["id"].as_str().unwrap_or_default(), item.clone());
        self.told_of(item, previous)
    }

    fn told_of(&mut self, item: &Value, previous: Option<String>) -> String {
        let kind = match self.dialect {
            Dialect::General => "conversation.item.added",
            Dialect::Beta => "conversation.item.created",
        };
        self.event(kind, json!({ "previous_item_id": previous, "item": item }))
    }

    fn item_done(&mut self, item: &Value) -> Option<String> {
        self.conversation.update(item["id"].as_str().unwrap_or_default(), item.clone());
        (self.dialect == Dialect::General).then(|| self.event("conversation.item.done", json!({ "item": item })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[String]) -> Vec<Value> {
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    #[test]
    fn a_response_goes_from_created_to_done_in_either_dialect() {
        for (dialect, audio, added) in [
            (Dialect::General, "response.output_audio", "conversation.item.added"),
            (Dialect::Beta, "response.audio", "conversation.item.created"),
        ] {
            let mut writer = EventWriter::new(dialect, 7);
            assert!(writer.voice(&[1]).is_none() && writer.end(Outcome::Completed).is_empty());
            let mut events = writer.begin();
            events.extend([writer.voice(&[1, 2, 3]).unwrap(), writer.words(" Hi").unwrap()]);
            events.extend(writer.end(Outcome::Cancelled));
            let events = told(&events);
            let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
            assert_eq!(
                kinds[..4],
                ["response.created", "response.output_item.added", added, "response.content_part.added"]
            );
            assert_eq!(kinds[4..6], [format!("{audio}.delta"), format!("{audio}_transcript.delta")]);
            assert_eq!((kinds[kinds.len() - 1], &events[4]["delta"]), ("response.done", &json!("AQID")));
            let response = &events[kinds.len() - 1]["response"];
            assert_eq!(response["status_details"]["reason"], "client_cancelled");
            assert_eq!(response["output"][0]["content"][0]["transcript"], " Hi");
            let ids: std::collections::HashSet<_> = events.iter().map(|e| e["event_id"].to_string()).collect();
            assert_eq!(ids.len(), events.len(), "every event has an id of its own");
        }
    }

    #[test]
    fn metadata_is_that_of_the_response_it_was_given_to() {
        let mut writer = EventWriter::new(Dialect::General, 7);
        let mine = json!({ "client_event_id": "e_7" });
        for (asked, expected) in [(None, Value::Null), (Some(mine.clone()), mine), (None, Value::Null)] {
            let is_asked = asked.is_some();
            if let Some(metadata) = asked {
                writer.ask(metadata);
            }
            let created = told(&writer.begin());
            assert!(writer.is_asked() == is_asked && writer.is_open(created[0]["response"]["id"].as_str().unwrap()));
            let done = told(&writer.end(Outcome::Completed));
            assert_eq!(
                (&created[0]["response"]["metadata"], &done[done.len() - 1]["response"]["metadata"]),
                (&expected, &expected)
            );
        }
    }

    #[test]
    fn items_are_kept_as_they_are_in_the_end() {
        let mut writer = EventWriter::new(Dialect::General, 7);
        let created = told(&writer.begin());
        let id = created[2]["item"]["id"].as_str().unwrap().to_owned();
        writer.words(" Hi");
        writer.end(Outcome::Completed);
        let kept = told(&writer.item_retrieved(&id).unwrap());
        assert_eq!(kept[0]["item"]["content"][0]["transcript"], " Hi");
        writer.item_deleted(&id).unwrap();
        assert!(writer.item_retrieved(&id).is_err());
    }

    #[test]
    fn items_follow_each_other() {
        let mut writer = EventWriter::new(Dialect::General, 7);
        let first = told(&writer.committed("item_a"));
        assert_eq!(first[0]["previous_item_id"], Value::Null);
        let begun = told(&writer.begin());
        assert_eq!(begun[2]["previous_item_id"], "item_a");
        writer.end(Outcome::Completed);
        let second = told(&writer.committed("item_b"));
        assert_eq!(second[0]["previous_item_id"], begun[2]["item"]["id"]);
    }
}
