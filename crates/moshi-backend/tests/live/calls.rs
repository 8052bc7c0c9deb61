//! Calls as they should be: handshake, audio both ways, words, many at once, refusals.

use std::time::Duration;

use crate::common::{Caller, FRAME, config, get, metric, signal, start};
use moshi_audio::{OggOpusDecoder, OggOpusEncoder, OggOpusEncoderConfig};
use moshi_backend::config::ServerConfig;

#[tokio::test]
async fn a_call_begins_with_handshake_metadata_and_stream_headers() {
    let server = start(config()).await;
    let mut caller = Caller::connect(&server, "text_temperature=0.5&audio_topk=100&email=ignored").await;
    let heard = caller.hear(Duration::from_millis(500)).await;
    let kinds: Vec<u8> = heard.messages.iter().map(|(_, m)| m[0]).collect();
    assert_eq!(kinds, [0, 4, 1]);
    assert_eq!(heard.messages[0].1, [0; 9], "type, protocol version, model version");
    let metadata: serde_json::Value = serde_json::from_slice(heard.of(4)[0]).unwrap();
    assert_eq!(metadata["text_temperature"], 0.5);
    assert_eq!(metadata["audio_topk"], 100);
    assert_eq!(metadata["repetition_penalty_context"], 64);
    assert!(metadata["build_info"]["rustc_version"].as_str().unwrap().starts_with("rustc "));
    let headers = heard.of(1)[0];
    assert!(headers.starts_with(b"OggS") && headers[28..].starts_with(b"OpusHead"));
    assert!(headers.windows(8).any(|w| w == b"OpusTags"));
    server.shutdown().await;
}

#[tokio::test]
async fn raw_audio_comes_back_bit_for_bit() {
    let server = start(config()).await;
    let frames = signal(1, 30);
    let caller = Caller::connect(&server, "format=pcm").await;
    let (caller, heard) = caller.converse(frames.clone(), 29).await;
    assert_eq!(heard.of(1), frames[..29], "the loopback answers one frame later");
    assert_eq!(heard.text(), " dot dot dot"[..8].to_owned() + if heard.text().len() > 8 { " dot" } else { "" });
    caller.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn ogg_opus_speech_goes_both_ways() {
    let server = start(config()).await;
    let speech = speech(6);
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default()).unwrap();
    let frames: Vec<Vec<u8>> = speech
        .chunks_exact(FRAME)
        .map(|frame| {
            let mut message = Vec::new();
            encoder.push(frame, &mut message).unwrap();
            message
        })
        .collect();
    let count = frames.len();
    let caller = Caller::connect(&server, "").await;
    let (caller, heard) = caller.converse(frames, count).await;
    let mut decoder = OggOpusDecoder::live();
    let mut pcm = Vec::new();
    for (at, message) in heard.of(1).into_iter().enumerate() {
        assert!(message.starts_with(b"OggS"), "message {at} begins inside a page");
        let before = pcm.len();
        decoder.push(message, &mut pcm).unwrap();
        assert_eq!(pcm.len() - before, if at == 0 { 0 } else { FRAME }, "message {at} holds whole pages");
    }
    assert_eq!(pcm.len(), (count - 1) * FRAME);
    let alike = best_correlation(&speech, &pcm);
    assert!(alike > 0.9, "what came back has correlation {alike} with what was sent");
    assert!(heard.text().starts_with(" dot dot"));
    caller.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn eight_talk_at_once_and_a_ninth_is_refused_with_a_reason() {
    let server = start(ServerConfig { max_sessions: 8.into(), ..config() }).await;
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(Caller::connect(&server, "format=pcm").await);
    }
    let refused = Caller::try_connect(&server, "", &[]).await.err().unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.retry_after.as_deref(), Some("5"));
    assert_eq!(refused.body["error"], "full");
    assert_eq!(refused.body["reason"], "all 8 places are taken");
    let (status, _, body) = get(&server, "/status", &[]).await;
    let status_body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &status_body["sessions"], &status_body["capacity"]), (200, &8.into(), &8.into()));
    let talks = calls.into_iter().enumerate().map(|(i, caller)| async move {
        let frames = signal(100 + i as u32, 40);
        let (caller, heard) = caller.converse(frames.clone(), 39).await;
        assert_eq!(heard.of(1), frames[..39], "caller {i}");
        caller
    });
    let mut calls = futures_util::future::join_all(talks).await;
    calls.pop().unwrap().hang_up().await;
    let again = Caller::try_connect(&server, "", &[]).await;
    assert!(again.is_ok(), "a place that was left is free");
    assert_eq!(metric(&server, "moshi_sessions_refused_total").await, 1.0);
    assert_eq!(metric(&server, "moshi_sessions_admitted_total").await, 9.0);
    server.shutdown().await;
}

#[tokio::test]
async fn unreasonable_requests_are_refused_before_the_upgrade() {
    let server = start(config()).await;
    for (query, word) in [
        ("text_temperature=99", "text_temperature"),
        ("audio_topk=-3", "audio_topk"),
        ("repetition_penalty=nan", "repetition_penalty"),
        ("format=mp3", "format"),
    ] {
        let refused = Caller::try_connect(&server, query, &[]).await.err().unwrap();
        assert_eq!((refused.status, &refused.body["error"]), (400, &"parameter".into()), "{query}");
        assert!(refused.body["reason"].as_str().unwrap().contains(word), "{}", refused.body);
    }
    let stranger = Caller::try_connect(&server, "", &[("origin", "https://evil.example")]).await.err().unwrap();
    assert_eq!((stranger.status, &stranger.body["error"]), (403, &"not_allowed".into()));
    let (status, _, body) = get(&server, "/api/chat", &[]).await;
    assert!((400..500).contains(&status) && body.contains("not_a_websocket"), "{status} {body}");
    assert_eq!(metric(&server, "moshi_sessions_open").await, 0.0);
    server.shutdown().await;
}

#[tokio::test]
async fn a_caller_may_pause_restart_and_limit_its_call() {
    let server = start(config()).await;
    let mut caller = Caller::connect(&server, "format=pcm&max_steps=3").await;
    let frames = signal(5, 8);
    caller.send(3, &[2]).await;
    caller.send(1, &frames[0]).await;
    caller.send(3, &[0]).await;
    caller.send(6, &[]).await;
    caller.send(1, &frames[1]).await;
    caller.send(3, &[3]).await;
    for frame in &frames[2..7] {
        caller.send(1, frame).await;
    }
    let heard = caller.hear(Duration::from_secs(5)).await;
    assert_eq!(heard.of(1), frames[2..5], "the paused frame is unheard, the restart begins anew, three steps");
    assert_eq!(heard.close.unwrap().0, 1000);
    server.shutdown().await;
}

/// Speech made with espeak-ng, 24 kHz, from the fixtures.
fn speech(seconds: usize) -> Vec<f32> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/server/fixtures/speech.wav");
    let mut wav = hound::WavReader::open(path).unwrap();
    assert_eq!(wav.spec().sample_rate, 24_000);
    let all: Vec<f32> = wav.samples::<i16>().map(|s| f32::from(s.unwrap()) / 32_768.0).collect();
    all.iter().copied().cycle().take(seconds * 24_000).collect()
}

/// The best normalised correlation of `b` with a shifted `a`, over shifts up to 30 ms.
fn best_correlation(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    let norm = |x: &[f32]| dot(x, x).sqrt();
    let at = |shift: usize| {
        let n = (b.len() - shift).min(a.len());
        let (x, y) = (&a[..n], &b[shift..shift + n]);
        dot(x, y) / (norm(x) * norm(y))
    };
    (0..720).map(at).fold(f32::MIN, f32::max)
}
