//! Callers that misbehave get a clear answer, and nobody else notices them.

use std::time::Duration;

use crate::common::{Caller, FRAME, Heard, config, eventually, metric, signal, start};
use futures_util::SinkExt;
use moshi_audio::{OggOpusEncoder, OggOpusEncoderConfig};
use moshi_backend::Server;
use moshi_backend::config::{CallLimits, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

/// A well-behaved call of `frames` frames; it must come back whole and in time.
async fn healthy(server: &Server, seed: u32, frames: usize) {
    let sent = signal(seed, frames);
    let caller = Caller::connect(server, "format=pcm").await;
    let (caller, heard) = caller.converse(sent.clone(), frames - 1).await;
    assert_eq!(heard.of(1), sent[..frames - 1], "the healthy caller's audio is complete and exact");
    assert!(heard.largest_gap() < Duration::from_millis(600), "gap of {:?}", heard.largest_gap());
    assert!(heard.errors().is_empty(), "{}", heard.errors());
    caller.hang_up().await;
}

/// Runs an abuser beside a healthy caller.
async fn beside_a_healthy_caller<T>(server: &Server, abuse: impl Future<Output = T>) -> T {
    tokio::join!(healthy(server, 77, 50), abuse).1
}

fn close_code(heard: &Heard) -> u16 {
    heard.close.as_ref().unwrap_or_else(|| panic!("no close frame; errors: {}", heard.errors())).0
}

#[tokio::test]
async fn vanished_callers_leave_their_places() {
    let server = start(config()).await;
    beside_a_healthy_caller(&server, async {
        for _ in 0..20 {
            let mut caller = Caller::connect(&server, "").await;
            caller.send(1, b"OggS and then nothing").await;
            // Dropped without a close frame.
            drop(caller);
        }
    })
    .await;
    eventually("every place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
}

#[tokio::test]
async fn unusable_messages_are_answered_and_too_many_end_the_call() {
    let server = start(config()).await;
    let heard = beside_a_healthy_caller(&server, async {
        let mut caller = Caller::connect(&server, "").await;
        caller.sink.send(Message::Text("hello?".into())).await.unwrap();
        caller.sink.send(Message::Binary(Vec::new().into())).await.unwrap();
        caller.send(99, b"??").await;
        let heard = caller.hear(Duration::from_millis(700)).await;
        assert!(heard.close.is_none(), "a few are forgiven: {:?}", heard.close);
        for word in ["text frames", "empty message", "type 99"] {
            assert!(heard.errors().contains(word), "{word:?} is missing in {:?}", heard.errors());
        }
        for _ in 0..40 {
            caller.send(3, &[9]).await;
        }
        caller.hear(Duration::from_secs(5)).await
    })
    .await;
    assert_eq!(close_code(&heard), 1007);
    assert!(heard.errors().contains("control byte 9"), "{}", heard.errors());
    server.shutdown().await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_call() {
    let server = start(config()).await;
    let heard = beside_a_healthy_caller(&server, async {
        let mut heard = Vec::new();
        for bytes in [65_536, 100_000, 300_000, 1_000_000] {
            let mut caller = Caller::connect(&server, "").await;
            caller.send(1, &vec![0; bytes]).await;
            heard.push(caller.hear(Duration::from_secs(5)).await);
        }
        heard
    })
    .await;
    for heard in heard {
        assert_eq!(close_code(&heard), 1009);
        assert!(heard.errors().contains("65536"), "the limit is told: {}", heard.errors());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_never_was_ogg_opus_gets_an_error_and_a_close_with_a_reason() {
    let server = start(config()).await;
    let heard = beside_a_healthy_caller(&server, async {
        let mut caller = Caller::connect(&server, "").await;
        for chunk in signal(3, 12) {
            caller.send(1, &chunk).await;
        }
        caller.hear(Duration::from_secs(5)).await
    })
    .await;
    assert_eq!(close_code(&heard), 1007);
    assert!(heard.errors().contains("Ogg Opus"), "{}", heard.errors());
    server.shutdown().await;
}

#[tokio::test]
async fn a_damaged_stream_is_concealed_and_the_call_goes_on() {
    let server = start(config()).await;
    let heard = beside_a_healthy_caller(&server, async {
        let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default()).unwrap();
        let mut messages: Vec<Vec<u8>> = Vec::new();
        for _ in 0..40 {
            let mut message = Vec::new();
            encoder.push(&[0.1; FRAME], &mut message).unwrap();
            messages.push(message);
        }
        // Garbage in one, half of another, one doubled, two swapped.
        messages[10].fill(0x55);
        let half = messages[15].len() / 2;
        messages[15].truncate(half);
        messages[20] = messages[19].clone();
        messages.swap(25, 26);
        let caller = Caller::connect(&server, "").await;
        caller.converse(messages, 36).await.1
    })
    .await;
    assert!(heard.close.is_none(), "{:?}", heard.close);
    assert!(heard.of(1).len() >= 36, "{} audio messages", heard.of(1).len());
    server.shutdown().await;
}

#[tokio::test]
async fn half_a_page_and_then_silence_ends_in_the_idle_limit() {
    let limits = CallLimits {
        idle_timeout: Duration::from_secs(1),
        ping_interval: Duration::from_millis(250),
        ..CallLimits::default()
    };
    let server = start(ServerConfig { calls: limits, ..config() }).await;
    let heard = beside_a_healthy_caller(&server, async {
        let mut caller = Caller::connect(&server, "").await;
        caller.send(1, b"OggS\0\x02").await;
        caller.hear(Duration::from_secs(8)).await
    })
    .await;
    assert_eq!(close_code(&heard), 4000);
    server.shutdown().await;
}

#[tokio::test]
async fn a_flood_is_ended_and_counted() {
    let server = start(config()).await;
    let heard = beside_a_healthy_caller(&server, async {
        let Caller { mut sink, source } = Caller::connect(&server, "format=pcm").await;
        let minute = signal(9, 750);
        let flood = tokio::spawn(async move {
            for frame in &minute {
                if sink.send(Message::Binary([&[1], frame.as_slice()].concat().into())).await.is_err() {
                    break;
                }
            }
            sink
        });
        let heard = crate::caller::hear(source, Duration::from_secs(8)).await;
        drop(flood.await);
        heard
    })
    .await;
    assert_eq!(close_code(&heard), 4003);
    assert!(metric(&server, "moshi_bad_input_total").await >= 1.0);
    server.shutdown().await;
}

#[tokio::test]
async fn who_never_reads_is_disconnected() {
    let limits = CallLimits {
        ping_interval: Duration::from_millis(200),
        pong_timeout: Duration::from_secs(2),
        ..CallLimits::default()
    };
    let server = start(ServerConfig { calls: limits, ..config() }).await;
    beside_a_healthy_caller(&server, async {
        let caller = Caller::connect(&server, "format=pcm").await;
        let Caller { mut sink, source } = caller;
        for frame in signal(4, 50) {
            // Nothing is ever read from `source`, so no ping is answered.
            if sink.send(Message::Binary([&[1], frame.as_slice()].concat().into())).await.is_err() {
                break;
            }
            tokio::time::sleep(crate::common::FRAME_TIME).await;
        }
        drop(source);
    })
    .await;
    eventually("the call is closed", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    let (_, _, body) = crate::common::get(&server, "/metrics", &[]).await;
    assert!(body.contains("moshi_sessions_closed_total{reason=\"not_reading\"} 1"), "{body}");
    server.shutdown().await;
}

#[tokio::test]
async fn bytes_that_are_no_websocket_harm_nobody() {
    let server = start(config()).await;
    beside_a_healthy_caller(&server, async {
        for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET /api/chat HTTP/1.1\r\n", b"\0\0\0\0\r\n\r\n"] {
            let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
            stream.write_all(garbage).await.unwrap();
        }
        // A frame that is not masked, as no client may send it.
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let upgrade = format!(
            "GET /api/chat HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.address()
        );
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        stream.write_all(b"\x82\x02\x01\x02").await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    eventually("every place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
}

#[tokio::test]
async fn random_messages_leave_the_server_well() {
    let server = start(config()).await;
    beside_a_healthy_caller(&server, async {
        for seed in 0..8u32 {
            let query = if seed % 2 == 0 { "" } else { "format=pcm" };
            let mut caller = Caller::connect(&server, query).await;
            let noise = signal(1_000 + seed, 40).concat();
            let mut rest = noise.as_slice();
            while rest.len() > 2 {
                let length = 1 + usize::from(u16::from_le_bytes([rest[0], rest[1]])) % 3_000;
                let (mut message, tail) = (rest[..length.min(rest.len())].to_vec(), &rest[length.min(rest.len())..]);
                message[0] %= 10;
                if caller.sink.send(Message::Binary(message.into())).await.is_err() {
                    break;
                }
                rest = tail;
            }
            let _ = caller.hear(Duration::from_millis(100)).await;
        }
    })
    .await;
    eventually("every place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
}
