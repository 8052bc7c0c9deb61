//! Audio that comes late and all at once is heard in its time; and who loses audio is told so, once, and why.

use std::time::{Duration, Instant};

use crate::common::{Caller, FRAME, FRAME_TIME, Heard, config, eventually, metric, signal, start};
use crate::models::{Habit, peculiar};
use futures_util::SinkExt;
use moshi_audio::{OggOpusEncoder, OggOpusEncoderConfig};
use moshi_backend::Server;
use moshi_backend::config::{CallLimits, ServerConfig};
use tokio_tungstenite::tungstenite::Message;

/// Bytes of a millisecond of raw audio.
const BYTES_A_MS: usize = 48;
/// Longest piece that fits into a message.
const PIECE: usize = 60_000;

/// Sends each piece at its time after the beginning, and hears meanwhile and until `enough` audio messages have come or
/// nothing more can come.
async fn send_at(caller: Caller, pieces: Vec<(Duration, Vec<u8>)>, enough: usize) -> Heard {
    let Caller { mut sink, mut source } = caller;
    let last = pieces.last().unwrap().0;
    let speak = async move {
        let begin = tokio::time::Instant::now();
        for (at, piece) in pieces {
            tokio::time::sleep_until(begin + at).await;
            for part in piece.chunks(PIECE) {
                sink.send(Message::Binary([&[1], part].concat().into())).await.unwrap();
            }
        }
        sink
    };
    let listen = async move { crate::caller::hear_until(&mut source, last + Duration::from_secs(15), enough).await };
    tokio::join!(speak, listen).1
}

/// Audio in pages, each sent when it is complete.
fn pages(audio: &[u8], page_ms: usize) -> Vec<(Duration, Vec<u8>)> {
    let page = page_ms * BYTES_A_MS;
    let at = |n: usize| Duration::from_millis(u64::try_from((n + 1) * page_ms).unwrap());
    audio.chunks(page).enumerate().map(|(n, bytes)| (at(n), bytes.to_vec())).collect()
}

/// What callers were told besides their first metadata.
fn notices(heard: &Heard) -> Vec<serde_json::Value> {
    let documents = heard.of(4).into_iter().map(|json| serde_json::from_slice::<serde_json::Value>(json).unwrap());
    documents.skip(1).collect()
}

#[tokio::test]
async fn pages_of_any_length_are_heard_whole_and_in_their_time() {
    let server = start(config()).await;
    let talks = [60, 120, 700, 1_000, 2_000, 3_000, 6_000].into_iter().map(|page_ms| {
        let server = &server;
        async move {
            let frames = signal(u32::try_from(page_ms).unwrap(), 75);
            let caller = Caller::connect(server, "format=pcm").await;
            let heard = send_at(caller, pages(&frames.concat(), page_ms), 74).await;
            assert_eq!(heard.of(1).len(), 74, "pages of {page_ms} ms");
            assert_eq!(heard.of(1), frames[..74], "pages of {page_ms} ms");
            assert_eq!(notices(&heard), Vec::<serde_json::Value>::new());
        }
    });
    futures_util::future::join_all(talks).await;
    assert_eq!(metric(&server, "moshi_frames_dropped_total").await, 0.0);
    server.shutdown().await;
}

#[tokio::test]
async fn a_whole_file_at_once_is_heard_at_the_speed_of_speech() {
    let server = start(config()).await;
    let mut encoder = OggOpusEncoder::new(&OggOpusEncoderConfig::default()).unwrap();
    let mut opus = Vec::new();
    for _ in 0..75 {
        encoder.push(&[0.1; FRAME], &mut opus).unwrap();
    }
    let raw = signal(4, 75).concat();
    let begin = Instant::now();
    let opus = async {
        let caller = Caller::connect(&server, "").await;
        // Its headers come as an audio message too.
        send_at(caller, vec![(Duration::ZERO, opus)], 75).await
    };
    let whole = async {
        let caller = Caller::connect(&server, "format=pcm").await;
        send_at(caller, vec![(Duration::ZERO, raw.clone())], 74).await
    };
    let small = async {
        // Pieces of 4 ms: more messages than a second may have, but not more than may come at once.
        let pieces = raw.chunks(4 * BYTES_A_MS).map(|piece| (Duration::ZERO, piece.to_vec())).collect();
        send_at(Caller::connect(&server, "format=pcm").await, pieces, 74).await
    };
    let (opus, whole, small) = tokio::join!(opus, whole, small);
    assert!(begin.elapsed() > FRAME_TIME * 65, "in their time: {:?}", begin.elapsed());
    assert!(opus.of(1).len() >= 74, "{} messages", opus.of(1).len());
    assert_eq!(
        (whole.of(1).concat(), small.of(1).concat()),
        (raw[..74 * 2 * FRAME].to_vec(), raw[..74 * 2 * FRAME].to_vec())
    );
    assert_eq!(metric(&server, "moshi_frames_dropped_total").await, 0.0);
    server.shutdown().await;
}

#[tokio::test]
async fn a_burst_in_the_middle_of_a_conversation_loses_nothing() {
    let server = start(config()).await;
    let frames = signal(5, 60);
    let at = |n: usize| FRAME_TIME * u32::try_from(n).unwrap();
    let live = |range: std::ops::Range<usize>| range.map(|n| (at(n), frames[n].clone()));
    let mut pieces: Vec<_> = live(0..12).collect();
    // Three seconds at once, and on as if nothing had been.
    pieces.push((at(12), frames[12..49].concat()));
    pieces.extend((49..60).map(|n| (at(n - 36), frames[n].clone())));
    let heard = send_at(Caller::connect(&server, "format=pcm").await, pieces, 59).await;
    assert_eq!(heard.of(1), frames[..59]);
    server.shutdown().await;
}

#[tokio::test]
async fn after_a_stall_of_the_network_a_live_caller_is_in_time_again() {
    let server = start(config()).await;
    let voice = signal(6, 230);
    let silence = vec![0; 2 * FRAME];
    // Every third frame is a pause. For two seconds nothing comes, then all of it, and then the caller is live again.
    let frames: Vec<_> = voice.iter().enumerate().map(|(n, f)| if n % 3 == 2 { &silence } else { f }).collect();
    let (stall, back) = (25, 50);
    let at = |n: usize| FRAME_TIME * u32::try_from(if (stall..back).contains(&n) { back } else { n }).unwrap();
    let pieces = frames.iter().enumerate().map(|(n, frame)| (at(n), (*frame).clone())).collect();
    let begin = Instant::now();
    let heard = send_at(Caller::connect(&server, "format=pcm").await, pieces, usize::MAX).await;
    let spoken: Vec<&Vec<u8>> = voice.iter().enumerate().filter(|(n, _)| n % 3 != 2).map(|(_, f)| f).collect();
    let told: Vec<&[u8]> = heard.of(1).into_iter().filter(|f| *f != silence).collect();
    assert!(told.len() >= spoken.len() - 2, "the voice is heard whole: {} of {}", told.len(), spoken.len());
    let late = |n: usize| {
        let (when, _) = heard.messages.iter().find(|(_, m)| m[0] == 1 && m[1..] == voice[n]).unwrap();
        when.saturating_duration_since(begin + at(n))
    };
    assert!(late(60) > Duration::from_millis(800), "right after the stall: {:?}", late(60));
    assert!(late(220) < Duration::from_millis(700), "after some pauses: {:?}", late(220));
    assert_eq!(metric(&server, "moshi_frames_dropped_total").await, 0.0);
    server.shutdown().await;
}

#[tokio::test]
async fn who_loses_audio_to_a_slow_machine_is_told_once_and_why() {
    let server = Server::start(config(), peculiar(Habit::Slow(Duration::from_millis(130)))).await.unwrap();
    let caller = Caller::connect(&server, "format=pcm&text_topk=7").await;
    let (caller, heard) = caller.converse(signal(8, 60), usize::MAX).await;
    assert!(metric(&server, "moshi_frames_dropped_total").await >= 10.0, "it happens more than once");
    let told = notices(&heard);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["notices"][0]["kind"], "audio_lost");
    let words = told[0]["notices"][0]["text"].as_str().unwrap();
    assert!(words.contains("ms of your audio") && words.contains("does not keep up"), "{words}");
    // Published clients show each metadata message as the whole document.
    assert!(told[0]["text_topk"] == 7 && told[0]["build_info"]["rustc_version"].is_string(), "{}", told[0]);
    caller.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn who_sent_much_at_once_is_not_idle_while_it_is_heard() {
    let limits = CallLimits { idle_timeout: Duration::from_secs(1), ..CallLimits::default() };
    let limits = CallLimits { ping_interval: Duration::from_millis(100), ..limits };
    let server = start(ServerConfig { calls: limits, ..config() }).await;
    let frames = signal(9, 40);
    let caller = Caller::connect(&server, "format=pcm").await;
    let heard = send_at(caller, vec![(Duration::ZERO, frames.concat())], usize::MAX).await;
    assert_eq!(heard.of(1), frames[..39]);
    assert_eq!(heard.close.unwrap().0, 4_000, "afterwards it is");
    eventually("the place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
}

#[tokio::test]
async fn prompts_in_vain_are_told_at_the_beginning() {
    let server = start(config()).await;
    let mut caller = Caller::connect(&server, "voice_prompt=NATF2.pt&text_prompt=You%20are%20a%20pirate&seed=1").await;
    let heard = caller.hear(Duration::from_millis(300)).await;
    let metadata: serde_json::Value = serde_json::from_slice(heard.of(4)[0]).unwrap();
    let kinds: Vec<_> = metadata["notices"].as_array().unwrap().iter().map(|n| n["kind"].clone()).collect();
    assert_eq!(kinds, ["parameter_ignored", "parameter_ignored"]);
    assert!(!metadata.to_string().contains("pirate"), "nobody's words are repeated");
    caller.hang_up().await;
    let mut usual = Caller::connect(&server, "format=%70cm").await;
    let heard = usual.hear(Duration::from_millis(300)).await;
    let metadata: serde_json::Value = serde_json::from_slice(heard.of(4)[0]).unwrap();
    assert!(metadata.get("notices").is_none() && heard.of(1).is_empty(), "raw audio has no headers");
    usual.hang_up().await;
    server.shutdown().await;
}
