//! A model that is slow or breaks: latency stays bounded, callers are told, the server lives. And its orderly end.

use std::time::{Duration, Instant};

use crate::common::{Caller, FRAME_TIME, config, eventually, get, metric, signal, start};
use crate::models::{FATAL_SEED, Habit, loud_frame, peculiar};
use moshi_backend::Server;
use moshi_backend::config::{MaxSessions, ServerConfig};
use moshi_engine::EngineError;

/// What a caller is told, whatever happened.
const FAILED: &str = "the model failed; call again";
/// The control message that begins a conversation again.
const RESTART: u8 = 3;

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
    assert_eq!(told.errors(), FAILED, "what happened is for the log");
    assert_eq!(told.close.unwrap().0, 1011);
    healthy.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_model_that_fails_or_panics_tells_every_caller_and_is_made_again() {
    for habit in [Habit::StepFails, Habit::Panics, Habit::PanicsTwice] {
        let server = Server::start(config(), peculiar(habit)).await.unwrap();
        let mut first = Caller::connect(&server, "format=pcm").await;
        let mut second = Caller::connect(&server, "format=pcm").await;
        second.send(1, &loud_frame()).await;
        for caller in [&mut first, &mut second] {
            let heard = caller.hear(Duration::from_secs(5)).await;
            assert_eq!(heard.errors(), FAILED, "{habit:?}");
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

/// A caller whose model panics while its row is opened, closed or opened again, over HTTP as it would.
async fn panics_outside_a_step(server: &Server, habit: Habit) {
    let query = format!("format=pcm&seed={FATAL_SEED}");
    if let Habit::OpenPanics = habit {
        let refused = Caller::try_connect(server, &query, &[]).await.err().unwrap();
        assert_eq!((refused.status, &refused.body["error"]), (503, &"internal".into()));
        assert!(!refused.body.to_string().contains("bug"), "{}", refused.body);
        return;
    }
    let mut caller = Caller::connect(server, &query).await;
    assert_eq!(caller.hear(Duration::from_millis(300)).await.of(0).len(), 1);
    if let Habit::ClosePanics = habit {
        caller.hang_up().await;
        return;
    }
    caller.send(3, &[RESTART]).await;
    let heard = caller.hear(Duration::from_secs(5)).await;
    assert_eq!(heard.close.unwrap().0, 1011);
}

#[tokio::test]
async fn a_panic_outside_a_step_tells_every_caller_and_the_model_is_made_again() {
    for habit in [Habit::OpenPanics, Habit::ClosePanics, Habit::ReopenPanics] {
        let server = Server::start(config(), peculiar(habit)).await.unwrap();
        let mut bystander = Caller::connect(&server, "format=pcm&seed=1").await;
        panics_outside_a_step(&server, habit).await;
        let heard = bystander.hear(Duration::from_secs(5)).await;
        assert_eq!((heard.errors().as_str(), heard.close.unwrap().0), (FAILED, 1011), "{habit:?}");
        eventually("ready again", || async { get(&server, "/health/ready", &[]).await.0 == 200 }).await;
        eventually("places are free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
        let frames = signal(13, 10);
        let again = Caller::connect(&server, "format=pcm&seed=1").await;
        let (again, heard) = again.converse(frames.clone(), 9).await;
        assert_eq!(heard.of(1), frames[..9], "{habit:?}");
        assert_eq!(metric(&server, "moshi_model_failures_total").await, 1.0, "{habit:?}");
        assert_eq!(metric(&server, "moshi_model_restarts_total").await, 1.0, "{habit:?}");
        again.hang_up().await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn while_a_model_is_made_again_the_server_is_alive_and_not_ready() {
    for habit in [Habit::StepFails, Habit::Panics, Habit::OpenPanics, Habit::ClosePanics, Habit::ReopenPanics] {
        let (mut host, (go, wait)) = (peculiar(habit), std::sync::mpsc::channel());
        let mut first = true;
        let slow = moshi_backend::model::ModelHost::new("slow", move |rows| {
            if !std::mem::take(&mut first) {
                wait.recv_timeout(Duration::from_secs(20)).map_err(|e| EngineError::Model(e.to_string()))?;
            }
            host.make(rows)
        });
        let server = Server::start(config(), slow).await.unwrap();
        let mut bystander = Caller::connect(&server, "format=pcm&seed=1").await;
        if let Habit::StepFails | Habit::Panics = habit {
            bystander.send(1, &loud_frame()).await;
        } else {
            panics_outside_a_step(&server, habit).await;
        }
        assert_eq!(bystander.hear(Duration::from_secs(5)).await.close.unwrap().0, 1011, "told before it is made again");
        let (code, _, body) = get(&server, "/health/ready", &[]).await;
        assert_eq!((code, body.contains("restarting")), (503, true), "{habit:?}: {body}");
        assert_eq!(get(&server, "/health/live", &[]).await.0, 200, "no reason to start the process again");
        let refused = Caller::try_connect(&server, "", &[]).await.err().unwrap();
        assert_eq!((refused.status, &refused.body["error"]), (503, &"internal".into()));
        assert!(refused.retry_after.is_some());
        go.send(()).unwrap();
        eventually("ready again", || async { get(&server, "/health/ready", &[]).await.0 == 200 }).await;
        Caller::connect(&server, "format=pcm&seed=1").await.hang_up().await;
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_model_that_panics_while_it_is_made_again_is_lost_and_the_server_says_so() {
    let (mut host, mut first) = (peculiar(Habit::PanicsTwice), true);
    let once = moshi_backend::model::ModelHost::new("once", move |rows| {
        assert!(std::mem::take(&mut first), "a bug in making it");
        host.make(rows)
    });
    let server = Server::start(config(), once).await.unwrap();
    let mut caller = Caller::connect(&server, "format=pcm").await;
    caller.send(1, &loud_frame()).await;
    assert_eq!(caller.hear(Duration::from_secs(5)).await.close.unwrap().0, 1011);
    eventually("unready", || async { get(&server, "/health/ready", &[]).await.0 == 503 }).await;
    eventually("failed", || async { get(&server, "/status", &[]).await.2.contains("\"state\":\"failed\"") }).await;
    assert_eq!(get(&server, "/health/live", &[]).await.0, 503);
    server.shutdown().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_opened_is_not_the_callers_parameter() {
    let server = Server::start(config(), peculiar(Habit::OpenFails)).await.unwrap();
    let bystander = Caller::connect(&server, "format=pcm&seed=1").await;
    let query = format!("seed={FATAL_SEED}");
    let refused = Caller::try_connect(&server, &query, &[]).await.err().unwrap();
    assert_eq!((refused.status, &refused.body["error"]), (503, &"internal".into()));
    assert_eq!(refused.body["reason"], FAILED, "the device's words are for the log");
    assert!(refused.retry_after.is_some());
    let refused = Caller::try_connect(&server, "text_temperature=99", &[]).await.err().unwrap();
    assert_eq!((refused.status, &refused.body["error"]), (400, &"parameter".into()));
    let (_, _, metrics) = get(&server, "/metrics", &[]).await;
    for reason in ["internal", "parameter"] {
        assert!(metrics.contains(&format!("moshi_sessions_refused_total{{reason=\"{reason}\"}} 1")), "{metrics}");
    }
    let frames = signal(14, 5);
    let (bystander, heard) = bystander.converse(frames.clone(), 4).await;
    assert_eq!(heard.of(1), frames[..4], "nobody else is concerned");
    bystander.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_model_whose_every_row_fails_is_not_served() {
    for max_sessions in [MaxSessions::Fixed(2), MaxSessions::Auto] {
        let config = ServerConfig { max_sessions, ..config() };
        let error = Server::start(config, peculiar(Habit::RowsFail)).await.err().unwrap();
        assert!(error.to_string().contains("the weights are damaged"), "{error}");
    }
}

/// On one async worker: whoever blocks it waits in vain for what another task does.
#[tokio::test(flavor = "current_thread")]
async fn a_model_is_made_and_takes_its_first_steps_on_no_async_worker() {
    let (go, wait) = std::sync::mpsc::channel();
    let patient = moshi_backend::model::ModelHost::new("patient", move |rows| {
        wait.recv_timeout(Duration::from_secs(5)).map_err(|_| EngineError::Model("a worker was blocked".to_owned()))?;
        peculiar(Habit::Cold(Duration::ZERO)).make(rows)
    });
    let other = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        go.send(()).unwrap();
    });
    let server = Server::start(config(), patient).await.unwrap();
    other.await.unwrap();
    server.shutdown().await;
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
