//! A real model behind the server: the tiny checkpoint of the golden data.

use std::time::Duration;

use moshi_backend::Server;
use moshi_backend::config::{ModelSource, ModelSpec, ServerConfig};
use moshi_backend::model::ModelHost;
use moshi_engine::EngineConfig;

use crate::common::{Caller, Heard, config, signal};

/// A server of the tiny model that never drops a frame, however busy the machine is.
async fn tiny() -> Server {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/tiny-moshi");
    let mut spec = ModelSpec { source: ModelSource::Path(folder.into()), ..ModelSpec::default() };
    spec.mimi_model_file = Some(format!("{folder}/mimi.safetensors"));
    spec.text_tokenizer_file = Some(format!("{folder}/tokenizer.model"));
    let host = ModelHost::load(&spec).unwrap();
    let engine = EngineConfig { backlog_limit: 1_000, backlog_target: 1_000 };
    Server::start(ServerConfig { engine, ..config() }, host).await.unwrap()
}

async fn talk(server: &Server, seed: u32) -> Heard {
    let caller = Caller::connect(server, &format!("format=pcm&seed={seed}")).await;
    // The acoustic delay of the model holds back the first frames.
    let (caller, heard) = caller.converse(signal(seed, 25), 23).await;
    caller.hang_up().await;
    heard
}

#[tokio::test]
async fn a_caller_hears_the_same_alone_and_among_seven_others() {
    let server = tiny().await;
    let alone = talk(&server, 1).await;
    assert!(alone.of(1).len() >= 23, "{} frames; {}", alone.of(1).len(), alone.errors());
    assert!(alone.of(1).iter().any(|frame| frame.iter().any(|byte| *byte != 0)), "there is sound");
    let house = futures_util::future::join_all((1..=8).map(|seed| talk(&server, seed))).await;
    assert_eq!(house[0].of(1)[..23], alone.of(1)[..23], "bit for bit");
    assert_ne!(house[1].of(1)[..23], alone.of(1)[..23], "others hear something else");
    let words = alone.text();
    assert!(house[0].text().starts_with(&words) || words.starts_with(&house[0].text()));
    server.shutdown().await;
}

#[tokio::test]
async fn parameters_reach_the_model() {
    let server = tiny().await;
    let refused = Caller::try_connect(&server, "audio_temperature=11", &[]).await.err().unwrap();
    assert_eq!(refused.status, 400);
    let mut caller = Caller::connect(&server, "audio_temperature=0&text_temperature=0").await;
    let heard = caller.hear(Duration::from_millis(400)).await;
    let metadata: serde_json::Value = serde_json::from_slice(heard.of(4)[0]).unwrap();
    assert_eq!(metadata["audio_temperature"], 0.0);
    assert!(metadata["lm_model_file"].as_str().unwrap().contains("tiny-moshi"), "{metadata}");
    server.shutdown().await;
}
