//! A model that plays roles behind real sockets: what callers hear is what the engine alone says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moshi_backend::Server;
use moshi_backend::config::{ModelSource, ModelSpec, Part, ServerConfig};
use moshi_backend::model::{self, ModelHost};
use moshi_engine::{EngineConfig, SessionParams, SessionSpec, Sessions};
use moshi_model::Loaded;
use serde_json::{Value, json};

use crate::common::{Caller, Heard, config, eventually, get, signal};
use crate::realtime_client::Client;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/tiny-personaplex");
/// Frames that are compared: those of a second.
const FRAMES: usize = 12;
const GREEDY: &str = "format=pcm&text_temperature=0&audio_temperature=0";

fn spec() -> ModelSpec {
    ModelSpec { source: ModelSource::Path(FOLDER.into()), ..ModelSpec::default() }
}

async fn serve(part: Part) -> Server {
    let host = ModelHost::load(&spec()).unwrap();
    let engine = EngineConfig { backlog_limit: 1_000, backlog_target: 1_000 };
    Server::start(ServerConfig { engine, part, model: spec(), ..config() }, host).await.unwrap()
}

async fn plain() -> Server {
    serve(Part::default()).await
}

/// What the engine alone says to [`signal`] in this part: samples as the wire has them.
fn engine_alone(loaded: &Loaded, part: Option<(Option<&str>, &str)>) -> Vec<Vec<u8>> {
    let greedy = SessionParams { temperature: 0.0, text_temperature: 0.0, ..loaded.model.info().defaults };
    let roles = loaded.role_play().unwrap();
    let prompt = part.map(|(voice, role)| Arc::new(roles.prompt(voice.map(Path::new), role, &mut || true).unwrap()));
    let spec = SessionSpec { prompt, ..SessionSpec::lossless(greedy) };
    let mut session = Sessions::new(loaded.model.clone()).open(spec).unwrap();
    let (mut pcm, mut text) = (Vec::new(), String::new());
    for frame in signal(1, FRAMES + 4) {
        let samples = frame.as_chunks::<2>().0.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32_768.0);
        session.step(&samples.collect::<Vec<f32>>(), &mut pcm, &mut text).unwrap();
    }
    let wire = |sample: &f32| ((sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).to_le_bytes();
    pcm.chunks_exact(1_920).take(FRAMES).map(|frame| frame.iter().flat_map(wire).collect()).collect()
}

async fn talk(server: &Server, query: &str) -> Heard {
    let caller = Caller::connect(server, &format!("{GREEDY}&{query}")).await;
    let (caller, heard) = caller.converse(signal(1, FRAMES + 4), FRAMES).await;
    caller.hang_up().await;
    heard
}

/// The voice of the first frames; the numbers of the wire are rounded, so the last bit may differ.
fn assert_same(heard: &Heard, expected: &[Vec<u8>]) {
    assert_eq!(heard.errors(), "");
    let samples = |bytes: &[u8]| -> Vec<i16> {
        bytes.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect()
    };
    let frames = heard.of(1);
    assert!(frames.len() >= expected.len(), "{} frames", frames.len());
    for (at, (frame, expected)) in frames.iter().zip(expected).enumerate() {
        let apart = samples(frame).iter().zip(samples(expected)).map(|(a, b)| (a - b).abs()).max().unwrap();
        assert!(apart <= 1, "frame {at}: {apart}");
    }
}

#[tokio::test]
async fn callers_with_two_roles_at_once_hear_what_the_engine_alone_says_to_each() {
    let server = plain().await;
    let loaded = model::load(&spec()).unwrap();
    let role = "You are kind.";
    let (first, second, none) = tokio::join!(
        talk(&server, "voice_prompt=VARF0.pt&text_prompt=You+are+kind.&seed=1"),
        talk(&server, "voice_prompt=VARM0&text_prompt="),
        talk(&server, "seed=3"),
    );
    let expected = [(Some("VARF0"), role), (Some("VARM0"), "")].map(|part| engine_alone(&loaded, Some(part)));
    assert_ne!(expected[0], expected[1]);
    assert_same(&first, &expected[0]);
    assert_same(&second, &expected[1]);
    assert_same(&none, &engine_alone(&loaded, None));
    assert!(!String::from_utf8_lossy(first.of(4)[0]).contains("parameter_ignored"));
    server.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_played_is_refused_in_words_that_name_no_path() {
    let server = plain().await;
    let long = "a+wise+teacher+".repeat(250);
    let megabyte = "x".repeat(40_000);
    for (query, status, words) in [
        ("voice_prompt=..%2Fconfig.json".to_owned(), 400, "the voices of this server are VARF0, VARM0"),
        ("voice_prompt=%2Fetc%2Fpasswd".to_owned(), 400, "the voices of this server are"),
        ("voice_prompt=..".to_owned(), 400, "the voices of this server are"),
        ("voice_prompt=nobody&text_prompt=x".to_owned(), 400, "\"nobody\""),
        ("voice_prompt=VARF0%00".to_owned(), 400, "without control characters"),
        ("text_prompt=a%00b".to_owned(), 400, "without control characters"),
        (format!("text_prompt={long}"), 400, "shorten"),
        (format!("text_prompt={megabyte}"), 400, "at most 4096 bytes"),
    ] {
        let refused = Caller::try_connect(&server, &query, &[]).await.err().unwrap();
        let reason = refused.body["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!(refused.status, status, "{query}: {reason}");
        assert!(reason.contains(words) && !reason.contains("golden"), "{query}: {reason}");
    }
    let status: Value = serde_json::from_str(&get(&server, "/status", &[]).await.2).unwrap();
    assert_eq!(status["sessions"], 0, "nobody who was refused has a place");
    server.shutdown().await;
}

#[tokio::test]
async fn who_does_not_choose_gets_the_usual_part_and_status_tells_the_choices() {
    let usual = Part { voice: Some("VARM0".to_owned()), role: Some("You are kind.".to_owned()) };
    let server = serve(usual).await;
    let loaded = model::load(&spec()).unwrap();
    let (usual, other) = tokio::join!(talk(&server, ""), talk(&server, "voice_prompt=VARF0"));
    assert_same(&usual, &engine_alone(&loaded, Some((Some("VARM0"), "You are kind."))));
    assert_same(&other, &engine_alone(&loaded, Some((Some("VARF0"), "You are kind."))));
    let status: Value = serde_json::from_str(&get(&server, "/status", &[]).await.2).unwrap();
    let expected = json!({ "voices": ["VARF0", "VARM0"], "voice": "VARM0", "role": "You are kind." });
    assert_eq!(status["roles"], expected);
    server.shutdown().await;
    let nobody = Part { voice: Some("nobody".to_owned()), role: None };
    let host = ModelHost::load(&spec()).unwrap();
    let refused = Server::start(ServerConfig { part: nobody, model: spec(), ..config() }, host).await.err().unwrap();
    assert!(refused.to_string().contains("VARF0, VARM0"), "{refused}");
    let role = Part { voice: None, role: Some("x".to_owned()) };
    let refused = Server::start(ServerConfig { part: role, ..config() }, ModelHost::loopback()).await.err().unwrap();
    assert!(refused.to_string().contains("plays no roles"), "{refused}");
}

#[tokio::test]
async fn who_leaves_before_the_model_is_ready_frees_its_place_and_harms_nobody() {
    let server = plain().await;
    let loaded = model::load(&spec()).unwrap();
    let role = "a+wise+teacher+".repeat(60);
    let stay = talk(&server, "voice_prompt=VARF0&text_prompt=You+are+kind.");
    let leave = async {
        for _ in 0..10 {
            let caller = Caller::connect(&server, &format!("{GREEDY}&voice_prompt=VARM0&text_prompt={role}")).await;
            drop(caller);
        }
    };
    let (stay, ()) = tokio::join!(stay, leave);
    assert_same(&stay, &engine_alone(&loaded, Some((Some("VARF0"), "You are kind."))));
    eventually("every place is free", || async {
        let status: Value = serde_json::from_str(&get(&server, "/status", &[]).await.2).unwrap();
        status["sessions"] == 0
    })
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn the_handshake_comes_after_the_prompt_and_what_was_said_before_is_heard() {
    let server = plain().await;
    let loaded = model::load(&spec()).unwrap();
    let mut caller = Caller::connect(&server, &format!("{GREEDY}&voice_prompt=VARM0&text_prompt=You+are+kind.")).await;
    // Speaks at once, unlike published clients.
    for frame in signal(1, 3) {
        caller.send(1, &frame).await;
    }
    let mut heard = caller.hear(Duration::from_millis(900)).await;
    assert_eq!(heard.messages[0].1[0], 0, "the handshake is first");
    let (caller, rest) = caller.converse(signal(1, FRAMES + 4).split_off(3), FRAMES - heard.of(1).len()).await;
    heard.messages.extend(rest.messages);
    assert_same(&heard, &engine_alone(&loaded, Some((Some("VARM0"), "You are kind."))));
    caller.hang_up().await;
    server.shutdown().await;
}

/// What a realtime session says after `update`, or the error.
async fn realtime(server: &Server, query: &str, update: Option<Value>) -> Result<Vec<u8>, Value> {
    let query = format!("text_temperature=0&audio_temperature=0&{query}");
    let mut client = Client::connect_with(server, &query, &[]).await.unwrap();
    client.last("session.created").await;
    if let Some(session) = update {
        let told = client.ask(json!({ "type": "session.update", "session": session }), "session.updated").await;
        if told["type"] == "error" {
            return Err(told["error"].clone());
        }
        assert_eq!(told["session"]["notices"], Value::Null, "{told}");
    }
    let late = json!({ "type": "session.update", "session": { "instructions": "Somebody else." } });
    for frame in signal(1, FRAMES + 8) {
        client.append(&frame).await;
    }
    let told = client.ask(late, "session.updated").await;
    assert_eq!(told["session"]["notices"][0]["kind"], "part_kept", "{told}");
    let mut voice = Vec::new();
    while voice.len() < 2 * 1_920 * 6 {
        let event = client.next().await;
        if event["type"] == "response.output_audio.delta" {
            voice.extend(STANDARD.decode(event["delta"].as_str().unwrap()).unwrap());
        }
    }
    voice.truncate(2 * 1_920 * 6);
    Ok(voice)
}

#[tokio::test]
async fn a_realtime_session_plays_the_part_of_its_query_or_of_its_first_update() {
    let server = plain().await;
    let refused = Client::connect_with(&server, "voice_prompt=nobody", &[]).await.err().unwrap();
    assert!(refused.to_string().contains("400"), "{refused}");
    let update = json!({ "instructions": "You are kind.", "audio": { "output": { "voice": "VARF0" } } });
    let wrong = json!({ "voice": "../VARF0", "instructions": "You are kind." });
    let (asked, updated, plain, wrong) = tokio::join!(
        realtime(&server, "voice_prompt=VARF0&text_prompt=You+are+kind.", None),
        realtime(&server, "", Some(update)),
        realtime(&server, "", Some(json!({}))),
        realtime(&server, "", Some(wrong)),
    );
    assert_eq!(asked, updated);
    assert_ne!(asked, plain);
    let wrong = wrong.unwrap_err();
    assert!(wrong["message"].as_str().unwrap().contains("VARF0, VARM0"), "{wrong}");
    server.shutdown().await;
}
