//! A model that is slow or breaks: latency stays bounded, callers are told, the server lives. And its orderly end.

use std::time::{Duration, Instant};

use crate::common::{Caller, FRAME_TIME, config, eventually, get, metric, signal, start};
use crate::models::{Habit, loud_frame, peculiar};
use moshi_backend::Server;
use moshi_backend::config::ServerConfig;

#[tokio::test]
async fn a_slow_model_drops_frames_and_keeps_latency_bounded() {
    let step = Duration::from_millis(120);
    let server = Server::start(config(), peculiar(Habit::Slow(step))).await.unwrap();
    let frames = signal(8, 75);
    let caller = Caller::connect(&server, "format=pcm").await;
    let begin = Instant::now();
    let (caller, heard) = caller.converse(frames.clone(), usize::MAX).await;
    // Each reply says which frame it answers; the frame was sent at its index times 80 ms.
    let mut late = Duration::ZERO;
    for (at, message) in heard.messages.iter().filter(|(_, m)| m[0] == 1) {
        let frame = frames.iter().position(|f| f == &message[1..]).expect("a frame that was sent");
        let sent = begin + FRAME_TIME * u32::try_from(frame).unwrap();
        late = late.max(at.saturating_duration_since(sent));
    }
    // Eight frames may wait, one is in the step, the loopback answers one step later, and the machine is busy.
    let bound = step * 10 + FRAME_TIME * 2 + Duration::from_millis(400);
    assert!(late < bound, "a reply came {late:?} after its frame; the bound is {bound:?}");
    let dropped = metric(&server, "moshi_frames_dropped_total").await;
    let stepped = metric(&server, "moshi_frames_total").await;
    assert!(dropped >= 10.0, "{dropped} frames dropped");
    assert_eq!(dropped + stepped, 75.0, "every frame was heard or counted as dropped");
    assert!(metric(&server, "moshi_deadline_misses_total").await >= 10.0);
    caller.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_row_that_fails_ends_its_own_call_only() {
    let server = Server::start(config(), peculiar(Habit::RowFails)).await.unwrap();
    let frames = signal(11, 40);
    let healthy = Caller::connect(&server, "format=pcm").await;
    let mut broken = Caller::connect(&server, "format=pcm").await;
    let breaks = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        broken.send(1, &loud_frame()).await;
        broken.hear(Duration::from_secs(5)).await
    };
    let ((healthy, heard), told) = tokio::join!(healthy.converse(frames.clone(), 39), breaks);
    assert_eq!(heard.of(1), frames[..39]);
    assert_eq!(told.errors(), "too loud for me");
    assert_eq!(told.close.unwrap().0, 1011);
    healthy.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_model_that_fails_or_panics_tells_every_caller_and_is_made_again() {
    for (habit, words) in [(Habit::StepFails, "the device is gone"), (Habit::Panics, "the model panicked: a bug")] {
        let server = Server::start(config(), peculiar(habit)).await.unwrap();
        let mut first = Caller::connect(&server, "format=pcm").await;
        let mut second = Caller::connect(&server, "format=pcm").await;
        second.send(1, &loud_frame()).await;
        for caller in [&mut first, &mut second] {
            let heard = caller.hear(Duration::from_secs(5)).await;
            assert!(heard.errors().contains(words), "{}", heard.errors());
            assert_eq!(heard.close.unwrap().0, 1011);
        }
        eventually("places are free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
        let frames = signal(12, 10);
        let again = Caller::connect(&server, "format=pcm").await;
        let (again, heard) = again.converse(frames.clone(), 9).await;
        assert_eq!(heard.of(1), frames[..9]);
        assert_eq!(metric(&server, "moshi_model_failures_total").await, 1.0);
        assert_eq!(metric(&server, "moshi_model_restarts_total").await, 1.0);
        again.hang_up().await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_made_again_makes_the_server_unready() {
    let mut host = peculiar(Habit::StepFails);
    let mut first = true;
    let once = moshi_backend::model::ModelHost::new("once", move |rows| {
        if std::mem::take(&mut first) {
            host.make(rows)
        } else {
            Err(moshi_engine::EngineError::Model("no memory".to_owned()))
        }
    });
    let server = Server::start(config(), once).await.unwrap();
    assert_eq!(get(&server, "/health/ready", &[]).await.0, 200);
    let mut caller = Caller::connect(&server, "format=pcm").await;
    caller.send(1, &loud_frame()).await;
    assert_eq!(caller.hear(Duration::from_secs(5)).await.close.unwrap().0, 1011);
    eventually("unready", || async { get(&server, "/health/ready", &[]).await.0 == 503 }).await;
    assert_eq!(get(&server, "/health/live", &[]).await.0, 503);
    let refused = Caller::try_connect(&server, "", &[]).await.err().unwrap();
    assert_eq!((refused.status, &refused.body["error"]), (503, &"internal".into()));
    server.shutdown().await;
}

#[tokio::test]
async fn shutdown_closes_calls_with_a_reason_and_is_quick() {
    let server = start(config()).await;
    let mut caller = Caller::connect(&server, "format=pcm").await;
    caller.send(1, &signal(1, 1)[0]).await;
    let begin = Instant::now();
    let (heard, ()) = tokio::join!(caller.hear(Duration::from_secs(8)), server.shutdown());
    assert_eq!(heard.close.unwrap().0, 1001);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_draining_server_refuses_new_calls_and_lets_open_ones_finish() {
    let server = start(ServerConfig { drain: Duration::from_secs(20), ..config() }).await;
    let address = server.address();
    let caller = Caller::connect(&server, "format=pcm").await;
    let frames = signal(2, 25);
    let ending = tokio::spawn(server.shutdown());
    let watch = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let url = format!("ws://{address}/api/chat");
        match tokio_tungstenite::connect_async(url).await {
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                assert_eq!(response.status(), 503);
                assert!(response.headers().contains_key("retry-after"));
            }
            other => panic!("{other:?}"),
        }
    };
    let ((caller, heard), ()) = tokio::join!(caller.converse(frames.clone(), 24), watch);
    assert_eq!(heard.of(1), frames[..24]);
    caller.hang_up().await;
    tokio::time::timeout(Duration::from_secs(6), ending).await.expect("it ends when the last call does").unwrap();
}
