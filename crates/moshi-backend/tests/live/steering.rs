//! Callers who steer what the model says, on both wires: the built-in model behind real sockets.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moshi_backend::Server;
use moshi_backend::config::{ModelSpec, ServerConfig};
use moshi_backend::model::ModelHost;
use moshi_engine::EngineConfig;
use serde_json::{Value, json};

use crate::common::{Caller, FRAME, Heard, config};
use crate::realtime_client::Client;

/// Codes of the model's width.
const WIDTH: usize = 256;

async fn built_in() -> Server {
    let spec = ModelSpec::default();
    let host = ModelHost::load(&spec).unwrap();
    let engine = EngineConfig { backlog_limit: 1_000, backlog_target: 1_000 };
    Server::start(ServerConfig { engine, model: spec, max_sessions: 12.into(), ..config() }, host).await.unwrap()
}

fn silence(frames: usize) -> Vec<Vec<u8>> {
    vec![vec![0; 2 * FRAME]; frames]
}

/// Calls, steers, is silent for three seconds, and listens.
async fn steered(server: &Server, steers: Vec<Value>) -> Heard {
    let mut caller = Caller::connect(server, "format=pcm&text_temperature=0").await;
    for steer in steers {
        caller.send(4, steer.to_string().as_bytes()).await;
    }
    let (caller, heard) = caller.converse(silence(38), 36).await;
    caller.hang_up().await;
    heard
}

fn told(heard: &Heard) -> Vec<Value> {
    let all = heard.of(4).into_iter().map(|json| serde_json::from_slice::<Value>(json).unwrap());
    all.filter(|told| told.get("token").is_some()).collect()
}

#[tokio::test]
async fn a_caller_gives_the_model_words_and_is_told_of_the_tokens_it_watches_for() {
    let server = built_in().await;
    let say = json!({ "steer": "say", "text": "The colour of the sky is blue." });
    let watch = json!({ "steer": "watch", "tokens": [0] });
    let (said, plain) = tokio::join!(steered(&server, vec![watch, say]), steered(&server, vec![]));
    assert_eq!(said.errors(), "");
    assert!(said.text().trim_start().starts_with("The colour of the sky is blue."), "{:?}", said.text());
    assert!(!plain.text().contains("colour of the sky"), "{:?}", plain.text());
    assert!(told(&said).len() >= 7, "each word begins with token 0: {:?}", told(&said));
    assert!(told(&said).iter().all(|told| told["token"] == 0 && told["step"].is_u64()));
    assert_eq!(told(&plain), Vec::<Value>::new());
    server.shutdown().await;
}

#[tokio::test]
async fn words_for_later_are_said_when_the_model_is_quiet_and_vectors_of_zeros_change_nothing() {
    let server = built_in().await;
    let zeros = STANDARD.encode(vec![0; 3 * WIDTH * 4]);
    let add = json!({ "steer": "add", "vectors": zeros });
    let say = json!({ "steer": "say", "text": "Are you there?", "when": "quiet" });
    let (said, added, plain) =
        tokio::join!(steered(&server, vec![say]), steered(&server, vec![add]), steered(&server, vec![]));
    assert!(said.text().contains("Are you there?"), "{:?}", said.text());
    assert_eq!((added.errors(), added.text()), (String::new(), plain.text()));
    server.shutdown().await;
}

#[tokio::test]
async fn what_steers_nothing_is_told_and_the_call_lives_on() {
    let server = built_in().await;
    let odd = STANDARD.encode([0; 12]);
    let wrong = [
        (json!({ "steer": "sing", "text": "la" }), "say, force, add or watch"),
        (json!({ "steer": "say", "text": "Hi", "loud": true }), "loud"),
        (json!({ "steer": "say", "text": "<break time=\"1h\"/>" }), "no break"),
        (json!({ "steer": "force", "frames": [[1], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] }), "10 forced cells"),
        (json!({ "steer": "force", "frames": [[99_999]] }), "forced token 99999"),
        (json!({ "steer": "add", "vectors": "%%%" }), "no base64"),
        (json!({ "steer": "add", "vectors": odd }), "rows of 256"),
        (json!({ "steer": "watch", "tokens": vec![1; 5_000] }), "5000 tokens"),
        (json!({ "steer": "watch", "tokens": "ret" }), "expected"),
    ];
    let calls = wrong.iter().map(|(message, _)| steered(&server, vec![message.clone()]));
    for (heard, (message, expected)) in futures_util::future::join_all(calls).await.iter().zip(&wrong) {
        assert!(heard.errors().contains(expected), "{message}: {}", heard.errors());
        assert!(heard.of(1).len() >= 36, "the call goes on");
    }
    // What only a server tells is harmless, as before.
    let heard = steered(&server, vec![json!({ "waiting": { "position": 1, "length": 2 } })]).await;
    assert_eq!(heard.errors(), "");
    server.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_is_put_in_is_said_when_a_response_is_asked_for() {
    let server = built_in().await;
    let message = |role: &str, kind: &str, text: &str| json!({ "type": "message", "role": role, "content": [{ "type": kind, "text": text }] });
    let put = |item: Value| json!({ "type": "conversation.item.create", "item": item });
    let given = json!({ "type": "response.create", "response": { "input": [message("assistant", "output_text", "It is three o'clock.")] } });
    let history = put(message("assistant", "output_text", "This was said long ago."));
    let asked = put(message("user", "input_text", "What time is it?"));
    let last = put(message("assistant", "output_text", "It is three o'clock."));
    let create = json!({ "type": "response.create" });
    for events in [vec![given], vec![history, asked, last, create]] {
        let mut client = Client::connect_with(&server, "model=any&text_temperature=0", &[]).await.unwrap();
        for event in events {
            client.send(event).await;
        }
        let done = tokio::time::timeout(Duration::from_secs(20), client.last("response.done")).await.unwrap();
        let transcript = done["response"]["output"][0]["content"][0]["transcript"].as_str().unwrap().trim_start();
        assert!(transcript.starts_with("It is three o'clock."), "{transcript:?}");
        client.send(json!({ "type": "moshi.steer", "event_id": "e1", "steer": "sing" })).await;
        assert_eq!(client.last("error").await["error"]["param"], "steer");
    }
    server.shutdown().await;
}
