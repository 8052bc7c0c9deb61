//! `/v1/realtime` on real sockets: events both ways, formats, mistakes, and the limits that every call has.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::SinkExt;
use moshi_backend::auth::KeySource;
use moshi_backend::config::{CallLimits, ServerConfig};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::common::{FRAME, config, eventually, metric, signal, start};
use crate::realtime_client::Client;

/// The audio in these events.
fn audio(events: &[Value], kind: &str) -> Vec<u8> {
    let deltas = events.iter().filter(|event| event["type"] == kind);
    deltas.flat_map(|event| STANDARD.decode(event["delta"].as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_burst_comes_back_in_real_time_as_one_response_in_either_spelling() {
    let server = start(config()).await;
    for (headers, stem, added) in [
        (&[][..], "response.output_audio", "conversation.item.added"),
        (&[("openai-beta", "realtime=v1")][..], "response.audio", "conversation.item.created"),
    ] {
        let mut client = Client::connect(&server, headers).await.unwrap();
        let session = client.last("session.created").await;
        assert_eq!(session["session"]["model"], "loopback");
        let frames = signal(3, 12);
        client.append(&frames.concat()).await;
        let events = client.until("response.done").await;
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        let position =
            |kind: &str| kinds.iter().position(|k| *k == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"));
        let order = [
            "input_audio_buffer.speech_started",
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            &format!("{stem}.delta"),
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            &format!("{stem}.done"),
            &format!("{stem}_transcript.done"),
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ];
        assert!(order.map(position).windows(2).all(|pair| pair[0] < pair[1]), "{kinds:?}");
        assert!(kinds.contains(&added), "{kinds:?}");
        let heard = audio(&events, &format!("{stem}.delta"));
        let sent = frames.concat();
        let begin = heard.windows(64).position(|w| w == &sent[..64]).expect("the voice is in the response");
        assert!(heard[begin..].starts_with(&sent), "bit for bit");
        let done = &events[events.len() - 1]["response"];
        assert_eq!(done["status"], "completed");
        let words: String = events
            .iter()
            .filter(|event| event["type"] == format!("{stem}_transcript.delta"))
            .map(|event| event["delta"].as_str().unwrap())
            .collect();
        assert!(words.starts_with(" dot"), "{words:?}");
        assert_eq!(done["output"][0]["content"][0]["transcript"], words);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn telephone_audio_goes_both_ways_and_the_model_goes_on_in_silence() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    let format = json!({ "type": "audio/pcmu" });
    let audio_settings =
        json!({ "input": { "format": format, "turn_detection": null }, "output": { "format": format } });
    client.send(json!({ "type": "session.update", "session": { "type": "realtime", "audio": audio_settings } })).await;
    let updated = client.last("session.updated").await;
    assert_eq!(updated["session"]["audio"]["output"]["format"]["type"], "audio/pcmu");
    assert_eq!(updated["session"]["audio"]["input"]["turn_detection"], Value::Null);
    // Half a second of a square wave of 400 Hz, +-8,031 in µ-law; then nothing: silence ends the response.
    let tone: Vec<u8> = (0..4_000).map(|n| if n / 10 % 2 == 0 { 0x9f } else { 0x1f }).collect();
    client.append(&tone).await;
    client.send(json!({ "type": "input_audio_buffer.commit" })).await;
    let events = client.until("response.done").await;
    assert!(events.iter().any(|event| event["type"] == "input_audio_buffer.committed"));
    assert!(!events.iter().any(|event| event["type"] == "input_audio_buffer.speech_started"), "nobody asked for it");
    let heard = audio(&events, "response.output_audio.delta");
    // µ-law bytes of a magnitude over 4,000 have an inverted exponent of 2 or less.
    let loud = heard.iter().filter(|byte| (**byte & 0x70) <= 0x20).count();
    assert!((3_000..=4_200).contains(&loud), "{loud} loud samples of {}", heard.len());
    server.shutdown().await;
}

#[tokio::test]
async fn mistakes_are_answered_and_the_session_lives_on() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    client.last("session.created").await;
    for (event, code) in [
        (json!({ "type": "no.such.event", "event_id": "mine" }), "unknown_event"),
        (json!({ "event_id": "mine" }), "missing_required_parameter"),
        (json!({ "type": "input_audio_buffer.append", "audio": "%", "event_id": "mine" }), "invalid_value"),
        (json!({ "type": "input_audio_buffer.append", "audio": "AQID", "event_id": "mine" }), "invalid_value"),
        (json!({ "type": "input_audio_buffer.commit", "event_id": "mine" }), "input_audio_buffer_commit_empty"),
        (json!({ "type": "response.cancel", "event_id": "mine" }), "response_cancel_not_active"),
        (
            json!({ "type": "session.update", "session": { "input_audio_format": "mp3" }, "event_id": "mine" }),
            "invalid_value",
        ),
        (json!({ "type": "conversation.item.create", "item": {}, "event_id": "mine" }), "missing_required_parameter"),
    ] {
        client.send(event.clone()).await;
        let error = client.last("error").await["error"].take();
        assert_eq!((&error["code"], &error["event_id"]), (&json!(code), &json!("mine")), "{event} {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    for raw in [Message::Text("{".into()), Message::Text("[1]".into()), Message::Binary(vec![1, 2].into())] {
        client.0.send(raw).await.unwrap();
        client.last("error").await;
    }
    for _ in 0..4 {
        client.append(&vec![0; 10 * 48_000]).await;
    }
    assert_eq!(client.last("error").await["error"]["code"], "input_audio_buffer_full");
    client.send(json!({ "type": "input_audio_buffer.clear" })).await;
    client.last("input_audio_buffer.cleared").await;
    assert_eq!(metric(&server, "moshi_bad_input_total").await, 12.0);
    server.shutdown().await;
}

#[tokio::test]
async fn responses_can_be_asked_for_and_cancelled() {
    let server = start(config()).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    client.send(json!({ "type": "response.create" })).await;
    client.until("response.created").await;
    client.send(json!({ "type": "response.create" })).await;
    let error = client.last("error").await;
    assert_eq!(error["error"]["code"], "conversation_already_has_active_response");
    client.until("response.output_audio.delta").await;
    client.send(json!({ "type": "response.cancel" })).await;
    let done = client.last("response.done").await;
    assert_eq!(done["response"]["status"], "cancelled");
    assert_eq!(done["response"]["status_details"]["reason"], "client_cancelled");
    let truncate =
        json!({ "type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 80 });
    client.send(truncate).await;
    assert_eq!(client.last("conversation.item.truncated").await["audio_end_ms"], 80);
    // After a pause the next voice is a new response.
    client.append(&[vec![0; 12 * 2 * FRAME], signal(1, 3).concat()].concat()).await;
    client.until("response.created").await;
    server.shutdown().await;
}

#[tokio::test]
async fn keys_places_and_limits_are_those_of_every_call() {
    let key = "a-key-that-nobody-guesses";
    let limits = CallLimits { idle_timeout: Duration::from_millis(600), ..CallLimits::default() };
    let limits = CallLimits { ping_interval: Duration::from_millis(200), max_message_bytes: 4_096, ..limits };
    let server = start(ServerConfig {
        api_keys: KeySource { file: None, given: vec![key.to_owned()] },
        max_sessions: 1.into(),
        calls: limits,
        ..config()
    })
    .await;
    let status = |refused: Result<Client, Box<Error>>| match refused.err().map(|error| *error) {
        Some(Error::Http(response)) => (response.status().as_u16(), response.headers().contains_key("retry-after")),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(Client::connect(&server, &[]).await), (401, false));
    let protocols = format!("realtime, openai-insecure-api-key.{key}, openai-beta.realtime-v1");
    let browser = [("sec-websocket-protocol", protocols.as_str())];
    let mut client = Client::connect(&server, &browser).await.unwrap();
    let session = client.last("session.created").await;
    assert_eq!(session["session"]["input_audio_format"], "pcm16", "the spelling that the subprotocol asks for");
    let bearer = format!("Bearer {key}");
    assert_eq!(status(Client::connect(&server, &[("authorization", &bearer)]).await), (503, true));
    assert_eq!(client.next().await, json!({ "close": 4_000 }), "an idle caller does not keep its place");
    let again = || async { Client::connect(&server, &[("authorization", &bearer)]).await.is_ok() };
    eventually("the place is free", again).await;
    eventually("and again", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    let mut client = Client::connect(&server, &[("authorization", &bearer)]).await.unwrap();
    client.last("session.created").await;
    client.append(&vec![0; 60_000]).await;
    assert_eq!(client.last("error").await["error"]["code"], "too_long");
    assert_eq!(client.next().await, json!({ "close": 1_009 }));
    server.shutdown().await;
}

#[tokio::test]
async fn a_recorded_call_holds_both_voices() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(ServerConfig { record_dir: Some(folder.path().to_owned()), ..config() }).await;
    let mut client = Client::connect(&server, &[]).await.unwrap();
    client.append(&signal(9, 5).concat()).await;
    client.until("response.done").await;
    drop(client);
    eventually("the call ends", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let wav = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "wav")).unwrap();
    let samples: Vec<i16> = hound::WavReader::open(wav).unwrap().samples::<i16>().map(Result::unwrap).collect();
    let sent: Vec<i16> = signal(9, 5).concat().chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let voice = |at: usize| samples.iter().skip(at).step_by(2).copied().collect::<Vec<i16>>();
    assert!(voice(0).starts_with(&sent), "the caller");
    assert_eq!(voice(1)[FRAME..][..sent.len()], sent, "the agent, one frame later");
}
