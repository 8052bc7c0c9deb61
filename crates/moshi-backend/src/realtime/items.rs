//! The items of a conversation: what the caller put in as text, and what was said. The model hears audio and nothing
//! else; items are kept so that a client finds again what it sent, and a message of the assistant's can be said.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::problem::{Problem, shortened};

/// Items that are kept; of more, the oldest are forgotten.
const ITEMS: usize = 1_000;
/// Bytes of their JSON that are kept.
const BYTES: usize = 1 << 20;
/// Bytes of an id of the caller's choice.
pub(super) const LONGEST_ID: usize = 512;
/// The place before every other item.
const ROOT: &str = "root";
/// What an item can be.
const KINDS: [&str; 3] = ["message", "function_call", "function_call_output"];
/// Whose a message can be.
const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];
/// Fields of a message's parts that hold media: they are not kept.
const MEDIA: [&str; 2] = ["audio", "image_url"];

/// An item that the caller wants in the conversation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewItem {
    /// As it is to be kept, without an id if the caller gave none.
    pub(super) item: Map<String, Value>,
    /// After which item; none is at the end.
    pub(super) after: Option<String>,
    /// Audio of the user's in it, in the format of the input.
    pub(super) audio: Vec<u8>,
    /// The text of a message of the assistant's: what the next response may say.
    pub(super) words: Option<String>,
}

/// What was said and put in, in its order.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    items: VecDeque<Item>,
    bytes: usize,
}

#[derive(Debug)]
struct Item {
    id: String,
    value: Value,
    bytes: usize,
}

impl NewItem {
    /// Reads the fields of `conversation.item.create`.
    ///
    /// # Errors
    /// [`Problem`] names the field.
    pub(super) fn read(mut fields: Map<String, Value>) -> Result<Self, Problem> {
        let after = match fields.remove("previous_item_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(other) => return Err(Problem::value("previous_item_id", &other, "the id of an item, or root")),
        };
        let mut item = match fields.remove("item") {
            Some(Value::Object(item)) => item,
            Some(other) => return Err(Problem::value("item", &other, "an object")),
            None => return Err(Problem::missing("item", "conversation.item.create has no item")),
        };
        check_id(&mut item)?;
        one_of(&item, "type", &KINDS)?;
        let (mut audio, mut words) = (Vec::new(), None);
        if item["type"] == "message" {
            one_of(&item, "role", &ROLES)?;
            let from_user = item["role"] == "user";
            let content = item.entry("content").or_insert_with(|| json!([]));
            read_content(content, from_user.then_some(&mut audio))?;
            words = assistant_words(&item);
        }
        item.insert("object".to_owned(), "realtime.item".into());
        item.insert("status".to_owned(), "completed".into());
        Ok(Self { item, after, audio, words })
    }
}

impl Conversation {
    /// The id of the latest item.
    pub(super) fn last(&self) -> Option<&str> {
        self.items.back().map(|item| item.id.as_str())
    }

    /// The item of this id.
    pub(super) fn get(&self, id: &str) -> Option<&Value> {
        self.position(id).map(|at| &self.items[at].value)
    }

    /// Puts an item at the end.
    pub(super) fn push(&mut self, id: &str, value: Value) {
        self.insert(self.items.len(), id, value);
    }

    /// Puts an item after another, or where [`NewItem::after`] says. Gives the id of the one before it.
    ///
    /// # Errors
    /// [`Problem`] when there is one of this id already, or none to put it after.
    pub(super) fn put(&mut self, id: &str, value: Value, after: Option<&str>) -> Result<Option<String>, Problem> {
        if self.position(id).is_some() {
            let why = format!("there is an item with the id \"{}\" already", shortened(id));
            return Err(Problem::of("item_create_duplicate_item_id", "item.id", why));
        }
        let at = match after {
            None => self.items.len(),
            Some(ROOT) => 0,
            Some(before) => {
                let unknown = || unknown("item_create_invalid_previous_item_id", "previous_item_id", before);
                self.position(before).ok_or_else(unknown)? + 1
            }
        };
        let previous = at.checked_sub(1).map(|before| self.items[before].id.clone());
        self.insert(at, id, value);
        Ok(previous)
    }

    /// An item has changed; one that was taken away stays away.
    pub(super) fn update(&mut self, id: &str, value: Value) {
        if let Some(at) = self.position(id) {
            let bytes = value.to_string().len();
            self.bytes = self.bytes + bytes - self.items[at].bytes;
            (self.items[at].value, self.items[at].bytes) = (value, bytes);
            self.forget();
        }
    }

    /// The item of this id, for `conversation.item.retrieve`.
    ///
    /// # Errors
    /// [`Problem`] when there is none.
    pub(super) fn retrieve(&self, id: &str) -> Result<&Value, Problem> {
        self.get(id).ok_or_else(|| unknown("item_retrieve_invalid_item_id", "item_id", id))
    }

    /// Takes an item away.
    ///
    /// # Errors
    /// [`Problem`] when there is none of this id.
    pub(super) fn delete(&mut self, id: &str) -> Result<(), Problem> {
        let at = self.position(id).ok_or_else(|| unknown("item_delete_invalid_item_id", "item_id", id))?;
        self.bytes -= self.items.remove(at).map_or(0, |item| item.bytes);
        Ok(())
    }

    fn position(&self, id: &str) -> Option<usize> {
        // The item that is asked for is mostly a late one.
        self.items.iter().rposition(|item| item.id == id)
    }

    fn insert(&mut self, at: usize, id: &str, value: Value) {
        let bytes = value.to_string().len();
        self.bytes += bytes;
        self.items.insert(at, Item { id: id.to_owned(), value, bytes });
        self.forget();
    }

    fn forget(&mut self) {
        while self.items.len() > ITEMS || (self.bytes > BYTES && self.items.len() > 1) {
            self.bytes -= self.items.pop_front().map_or(0, |item| item.bytes);
        }
    }
}

/// An id that names no item.
fn unknown(code: &'static str, param: &str, id: &str) -> Problem {
    let id = shortened(id);
    Problem::of(code, param, format!("there is no item with the id \"{id}\" in this conversation"))
}

/// The text of a message of the assistant's; `None` of any other item, and of a message without text.
pub(super) fn assistant_words(item: &Map<String, Value>) -> Option<String> {
    let field = |name: &str| item.get(name).and_then(Value::as_str);
    if field("role") != Some("assistant") || field("type").is_some_and(|kind| kind != "message") {
        return None;
    }
    let parts = item.get("content")?.as_array()?.iter();
    let texts = parts.filter_map(|part| part.get("text").or_else(|| part.get("transcript"))?.as_str());
    let words = texts.collect::<Vec<_>>().join(" ");
    (!words.trim().is_empty()).then_some(words)
}

fn check_id(item: &mut Map<String, Value>) -> Result<(), Problem> {
    match item.get("id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= LONGEST_ID && id != ROOT => Ok(()),
        None => Ok(()),
        Some(Value::Null) => {
            item.remove("id");
            Ok(())
        }
        Some(other) => Err(Problem::value("item.id", other, "a short text of the caller's choice")),
    }
}

fn one_of(item: &Map<String, Value>, field: &str, known: &[&str]) -> Result<(), Problem> {
    let param = format!("item.{field}");
    let found = item.get(field).filter(|value| !value.is_null());
    let found = found.ok_or_else(|| Problem::missing(&param, &format!("the item has no {field}")))?;
    let good = found.as_str().is_some_and(|name| known.contains(&name));
    if good { Ok(()) } else { Err(Problem::value(&param, found, &known.join(", "))) }
}

/// Checks the parts of a message, takes media out of them, and the user's audio into `audio`.
fn read_content(content: &mut Value, mut audio: Option<&mut Vec<u8>>) -> Result<(), Problem> {
    if content.is_null() {
        *content = json!([]);
    }
    let found = content.clone();
    let wrong = || Problem::value("item.content", &found, "an array of objects with a type");
    for part in content.as_array_mut().ok_or_else(wrong)? {
        let part = part.as_object_mut().ok_or_else(wrong)?;
        let kind = part.get("type").and_then(Value::as_str).ok_or_else(wrong)?;
        let heard = kind == "input_audio";
        for field in MEDIA {
            let Some(media) = part.remove(field) else { continue };
            if let (true, "audio", Some(text), Some(audio)) = (heard, field, media.as_str(), audio.as_deref_mut()) {
                let bytes = STANDARD.decode(text);
                let wrong =
                    |error| Problem::of("invalid_value", "item.content", format!("audio is no base64: {error}"));
                audio.extend(bytes.map_err(wrong)?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: Value) -> Result<NewItem, Problem> {
        NewItem::read(fields.as_object().unwrap().clone())
    }

    #[test]
    fn items_of_every_kind_are_taken() {
        for item in [
            json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Hi" }] }),
            json!({ "type": "message", "role": "system", "content": [{ "type": "input_text", "text": "Be kind" }] }),
            json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "Ho" }] }),
            json!({ "type": "message", "role": "assistant", "content": [{ "type": "text", "text": "Ho" }] }),
            json!({ "type": "message", "role": "developer", "content": null }),
            json!({ "type": "message", "role": "user", "id": null, "content": [{ "type": "input_image", "image_url": "x" }] }),
            json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" }),
            json!({ "type": "function_call_output", "call_id": "c", "output": "3" }),
        ] {
            let read = read(json!({ "item": item })).unwrap();
            assert_eq!((&read.item["object"], &read.item["status"]), (&json!("realtime.item"), &json!("completed")));
            assert!(!Value::Object(read.item).to_string().contains("image_url"), "media is not kept");
        }
        let audio = json!([{ "type": "input_audio", "audio": "AQID" }, { "type": "input_audio", "transcript": "Hi" }]);
        let spoken =
            |role: &str| read(json!({ "item": { "type": "message", "role": role, "content": audio } })).unwrap();
        assert_eq!((spoken("user").audio, spoken("assistant").audio), (vec![1, 2, 3], vec![]));
        assert_eq!(spoken("user").item["content"][0], json!({ "type": "input_audio" }));
    }

    #[test]
    fn what_is_wrong_with_an_item_is_named() {
        for (fields, param) in [
            (json!({}), "item"),
            (json!({ "item": [] }), "item"),
            (json!({ "item": {} }), "item.type"),
            (json!({ "item": { "type": "mcp_call" } }), "item.type"),
            (json!({ "item": { "type": "message" } }), "item.role"),
            (json!({ "item": { "type": "message", "role": "nobody" } }), "item.role"),
            (json!({ "item": { "type": "message", "role": "user", "content": "Hi" } }), "item.content"),
            (json!({ "item": { "type": "message", "role": "user", "content": ["Hi"] } }), "item.content"),
            (json!({ "item": { "type": "message", "role": "user", "content": [{ "text": "Hi" }] } }), "item.content"),
            (json!({ "item": { "type": "function_call", "id": 7 } }), "item.id"),
            (json!({ "item": { "type": "function_call", "id": "" } }), "item.id"),
            (json!({ "item": { "type": "function_call" }, "previous_item_id": 7 }), "previous_item_id"),
        ] {
            let problem = read(fields.clone()).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some(param), "{fields}: {problem:?}");
        }
    }

    #[test]
    fn items_have_an_order_and_are_found_until_they_are_taken_away() {
        let mut talk = Conversation::default();
        assert_eq!(talk.put("a", json!(1), None), Ok(None));
        assert_eq!(talk.put("c", json!(3), None), Ok(Some("a".to_owned())));
        assert_eq!(talk.put("b", json!(2), Some("a")), Ok(Some("a".to_owned())));
        assert_eq!(talk.put("first", json!(0), Some("root")), Ok(None));
        assert_eq!(talk.last(), Some("c"));
        assert_eq!(talk.put("a", json!(9), None).unwrap_err().code, "item_create_duplicate_item_id");
        assert_eq!(talk.put("x", json!(9), Some("y")).unwrap_err().code, "item_create_invalid_previous_item_id");
        assert_eq!(talk.get("x"), None, "an item without a place is not kept");
        assert_eq!(talk.retrieve("b"), Ok(&json!(2)));
        talk.delete("b").unwrap();
        talk.update("b", json!(5));
        assert_eq!(talk.retrieve("b").unwrap_err().code, "item_retrieve_invalid_item_id");
        assert_eq!(talk.delete("b").unwrap_err().code, "item_delete_invalid_item_id");
        assert_eq!(talk.put("b", json!(2), Some("a")), Ok(Some("a".to_owned())), "and may come again");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut talk = Conversation::default();
        for n in 0..3_000 {
            talk.push(&format!("item_{n}"), json!(n));
        }
        assert!(talk.items.len() == ITEMS && talk.get("item_1").is_none() && talk.last() == Some("item_2999"));
        for n in 0..10 {
            talk.push(&format!("long_{n}"), json!("x".repeat(BYTES / 3)));
        }
        assert!(talk.bytes <= BYTES && talk.items.len() == 2, "{} bytes", talk.bytes);
    }
}
