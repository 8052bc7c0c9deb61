//! What frameworks for agents do on `/v1/realtime`: they find their answers again, and put a history in.

use std::time::Duration;

use crate::common::{FRAME, config, signal, start};
use crate::realtime_client::Client;
use serde_json::{Value, json};

/// A message as text.
fn text(role: &str, id: &str, words: &str) -> Value {
    let kind = if role == "assistant" { "output_text" } else { "input_text" };
    json!({ "id": id, "type": "message", "role": role, "content": [{ "type": kind, "text": words }] })
}

fn create(item: Value) -> Value {
    json!({ "type": "conversation.item.create", "item": item })
}

fn about(kind: &str, id: &str) -> Value {
    json!({ "type": kind, "item_id": id })
}

#[tokio::test]
async fn a_response_that_was_asked_for_carries_its_metadata_and_no_other_does() {
    let server = start(config()).await;
    for headers in [&[][..], &[("openai-beta", "realtime=v1")]] {
        let mut client = Client::connect(&server, headers).await.unwrap();
        let mine = json!({ "client_event_id": "response_create_7", "ümlaut": "" });
        let asked = json!({ "type": "response.create", "response": { "instructions": "Greet.", "metadata": mine } });
        assert_eq!(client.ask(asked.clone(), "response.created").await["response"]["metadata"], mine);
        let again = client.ask(asked, "response.created").await;
        assert_eq!(again["error"]["code"], "conversation_already_has_active_response");
        assert_eq!(again["error"]["event_id"], "mine");
        client.send(json!({ "type": "response.cancel" })).await;
        assert_eq!(client.last("response.done").await["response"]["metadata"], mine);
        client.append(&[vec![0; 20 * 2 * FRAME], signal(1, 3).concat()].concat()).await;
        assert_eq!(client.last("response.created").await["response"]["metadata"], Value::Null, "it came unasked");
        assert_eq!(client.last("response.done").await["response"]["metadata"], Value::Null);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_response_that_came_unasked_gives_way_to_one_that_is_asked_for() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    client.append(&signal(1, 40).concat()).await;
    let first = client.last("response.created").await["response"]["id"].clone();
    client.last("response.output_audio.delta").await;
    let mine = json!({ "client_event_id": "greeting" });
    client.send(json!({ "type": "response.create", "response": { "metadata": mine } })).await;
    let done = client.last("response.done").await;
    assert_eq!((&done["response"]["id"], &done["response"]["status"]), (&first, &json!("completed")));
    let second = client.last("response.created").await;
    assert_eq!(second["response"]["metadata"], mine);
    let delta = client.last("response.output_audio.delta").await;
    assert_eq!(delta["response_id"], second["response"]["id"], "the voice goes on in it");
    assert_eq!(client.last("response.done").await["response"]["metadata"], mine);
    server.shutdown().await;
}

#[tokio::test]
async fn a_history_is_taken_kept_and_found_again() {
    let server = start(config()).await;
    for (headers, added) in
        [(&[][..], "conversation.item.added"), (&[("openai-beta", "realtime=v1")], "conversation.item.created")]
    {
        let mut client = Client::connect(&server, headers).await.unwrap();
        client.last("session.created").await;
        let mut previous = Value::Null;
        for item in [
            text("system", "sys", "Be kind."),
            text("user", "ada", "Hello, I am Ada."),
            text("assistant", "hal", "Hello, Ada."),
            json!({ "id": "call", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" }),
            json!({ "id": "out", "type": "function_call_output", "call_id": "c1", "output": "3" }),
        ] {
            let told = client.ask(create(item.clone()), added).await;
            assert_eq!(told["previous_item_id"], previous, "{told}");
            for (field, value) in item.as_object().unwrap() {
                assert_eq!(&told["item"][field], value, "{field} of {told}");
            }
            if added == "conversation.item.added" {
                assert_eq!(client.last("conversation.item.done").await["item"], told["item"]);
            }
            let found = client
                .ask(about("conversation.item.retrieve", item["id"].as_str().unwrap()), "conversation.item.retrieved");
            assert_eq!(found.await["item"], told["item"]);
            previous = item["id"].clone();
        }
        // Where a client says: at the beginning, in the middle, and without a name of its own.
        let mut first = create(text("user", "first", "?"));
        first["previous_item_id"] = json!("root");
        assert_eq!(client.ask(first, added).await["previous_item_id"], Value::Null);
        let mut middle = create(text("user", "middle", "?"));
        middle["previous_item_id"] = json!("ada");
        assert_eq!(client.ask(middle, added).await["previous_item_id"], "ada");
        let nameless =
            json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Hi" }] });
        let told = client.ask(create(nameless), added).await;
        assert!(
            told["item"]["id"].as_str().unwrap().starts_with("item_") && told["previous_item_id"] == "out",
            "{told}"
        );
        // The same id anew, as clients do that change an item.
        assert_eq!(
            client.ask(create(text("user", "ada", "?")), added).await["error"]["code"],
            "item_create_duplicate_item_id"
        );
        assert_eq!(
            client.ask(about("conversation.item.delete", "ada"), "conversation.item.deleted").await["item_id"],
            "ada"
        );
        assert_eq!(client.ask(create(text("user", "ada", "Anew")), added).await["item"]["id"], "ada");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn items_that_nobody_knows_are_errors_with_the_codes_that_clients_expect() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    let mut lost = create(text("user", "lost", "?"));
    lost["previous_item_id"] = json!("nobody");
    for (event, code) in [
        (about("conversation.item.retrieve", "nobody"), "item_retrieve_invalid_item_id"),
        (about("conversation.item.delete", "nobody"), "item_delete_invalid_item_id"),
        (lost, "item_create_invalid_previous_item_id"),
        (about("conversation.item.retrieve", "lost"), "item_retrieve_invalid_item_id"),
        (json!({ "type": "conversation.item.retrieve" }), "invalid_value"),
        (create(json!({ "type": "message", "role": "nobody", "content": [] })), "invalid_value"),
        (json!({ "type": "response.create", "response": { "metadata": { "n": 1 } } }), "invalid_value"),
    ] {
        let error = client.ask(event.clone(), "nothing").await;
        assert_eq!((&error["error"]["code"], &error["error"]["event_id"]), (&json!(code), &json!("mine")), "{event}");
    }
    let alive = client.ask(json!({ "type": "response.create" }), "response.created").await;
    assert_eq!(alive["type"], "response.created", "the session lives on");
    server.shutdown().await;
}

#[tokio::test]
async fn what_was_said_is_an_item_too() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    client.append(&signal(3, 10).concat()).await;
    let committed = client.last("input_audio_buffer.committed").await;
    let done = client.last("response.done").await;
    for (id, role) in [(&committed["item_id"], "user"), (&done["response"]["output"][0]["id"], "assistant")] {
        let id = id.as_str().unwrap();
        let found = client.ask(about("conversation.item.retrieve", id), "conversation.item.retrieved").await;
        assert_eq!((&found["item"]["id"], &found["item"]["role"]), (&json!(id), &json!(role)));
        let truncate =
            json!({ "type": "conversation.item.truncate", "item_id": id, "content_index": 0, "audio_end_ms": 999_999 });
        assert_eq!(client.ask(truncate, "conversation.item.truncated").await["item_id"], id, "after the end: no fault");
        assert_eq!(client.ask(about("conversation.item.delete", id), "conversation.item.deleted").await["item_id"], id);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_question_as_an_item_of_audio_is_heard() {
    use base64::Engine;
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    let audio = base64::engine::general_purpose::STANDARD.encode(signal(4, 5).concat());
    let item = json!({ "type": "message", "role": "user", "content": [{ "type": "input_audio", "audio": audio }] });
    let added = client.ask(create(item), "conversation.item.added").await;
    assert_eq!(added["item"]["content"], json!([{ "type": "input_audio" }]), "it is not sent back");
    client.last("response.output_audio.delta").await;
    server.shutdown().await;
}

#[tokio::test]
async fn what_goes_wrong_in_a_normal_call_is_told_so_that_clients_pass_over_it() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    let cancel = json!({ "type": "response.cancel" });
    let failed = |event: &Value| {
        let words = event["error"]["message"].as_str().unwrap_or_default();
        words.starts_with("Cancellation failed") && event["error"]["code"] == "response_cancel_not_active"
    };
    assert!(failed(&client.ask(cancel.clone(), "response.done").await), "before the first");
    let created = client.ask(json!({ "type": "response.create" }), "response.created").await;
    let id = created["response"]["id"].clone();
    let wrong = json!({ "type": "response.cancel", "response_id": "resp_of_another_day" });
    assert!(failed(&client.ask(wrong, "response.done").await), "another one");
    let right = json!({ "type": "response.cancel", "response_id": id });
    assert_eq!(client.ask(right.clone(), "response.done").await["response"]["status"], "cancelled");
    assert!(
        failed(&client.ask(right, "response.done").await) && failed(&client.ask(cancel, "response.done").await),
        "late"
    );
    // Nothing to clear is as good as cleared.
    client.send(json!({ "type": "output_audio_buffer.clear" })).await;
    for _ in 0..2 {
        let cleared = client.ask(json!({ "type": "input_audio_buffer.clear" }), "input_audio_buffer.cleared").await;
        assert_eq!(cleared["type"], "input_audio_buffer.cleared");
    }
    client.append(&signal(5, 3).concat()).await;
    let commit = json!({ "type": "input_audio_buffer.commit" });
    assert_eq!(
        client.ask(commit.clone(), "input_audio_buffer.committed").await["type"],
        "input_audio_buffer.committed"
    );
    let twice = client.ask(commit, "input_audio_buffer.committed").await;
    assert_eq!(twice["error"]["code"], "input_audio_buffer_commit_empty");
    server.shutdown().await;
}

#[tokio::test]
async fn the_query_sets_formats_and_steps_and_prompts_in_vain_are_told() {
    let server = start(config()).await;
    let query = "format=g711_ulaw&max_steps=3&voice_prompt=x";
    let mut client = Client::connect_with(&server, query, &[]).await.unwrap();
    let session = client.last("session.created").await["session"].take();
    for way in ["input", "output"] {
        assert_eq!(session["audio"][way]["format"]["type"], "audio/pcmu");
    }
    assert_eq!(session["notices"][0]["kind"], "parameter_ignored");
    client.append(&vec![0xff; 8_000]).await;
    loop {
        let event = client.next().await;
        if let Some(code) = event.get("close") {
            assert_eq!(code, 1_000, "three frames are over");
            break;
        }
    }
    let refused = Client::connect_with(&server, "format=opus", &[]).await.err().map(|error| error.to_string());
    assert!(refused.unwrap().contains("400"));
    server.shutdown().await;
}

#[tokio::test]
async fn a_caller_that_does_not_read_for_a_while_is_heard_meanwhile() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    client.last("session.created").await;
    client.append(&signal(6, 20).concat()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let frames = crate::common::metric(&server, "moshi_frames_total").await;
    assert!(frames >= 30.0, "{frames} frames");
    client.last("response.done").await;
    server.shutdown().await;
}
