//! What operations need: numbers that tell how calls fare, a measured capacity, a watchdog, a description.

use std::time::Duration;

use crate::common::{Caller, config, eventually, get, metric, signal, start};
use crate::models::{Habit, loud_frame, peculiar};
use moshi_backend::Server;
use moshi_backend::config::{CallLimits, MaxSessions, ServerConfig};
use moshi_backend::model::ModelHost;
use moshi_engine::ModelMemory;

async fn status(server: &Server) -> serde_json::Value {
    serde_json::from_str(&get(server, "/status", &[]).await.2).unwrap()
}

#[tokio::test]
async fn status_and_metrics_tell_how_each_call_fares() {
    let step = Duration::from_millis(120);
    let server = Server::start(config(), peculiar(Habit::Slow(step))).await.unwrap();
    assert!(status(&server).await["tick_ms"].is_null(), "no tick yet");
    let caller = Caller::connect(&server, "format=pcm").await;
    let (caller, _) = caller.converse(signal(8, 40), 20).await;
    let told = status(&server).await;
    for percentile in ["p50", "p95", "p99"] {
        assert!(told["tick_ms"][percentile].as_f64().unwrap() >= 120.0, "{told}");
    }
    let call = &told["calls"][0];
    assert!(call["worst_lag_ms"].as_f64().unwrap() >= call["lag_ms"].as_f64().unwrap(), "{call}");
    assert!(call["frames"].as_u64().unwrap() >= 20 && call["dropped_frames"].as_u64().unwrap() > 0, "{call}");
    assert!(call["underruns"].as_u64().unwrap() > 0, "a model slower than speech lets the player run dry: {call}");
    assert!(metric(&server, "moshi_call_worst_lag_seconds").await >= 0.12);
    assert!(metric(&server, "moshi_underruns_total").await >= 1.0);
    assert!(metric(&server, "moshi_deadline_misses_total").await >= 20.0);
    caller.hang_up().await;
    eventually("the place is empty", || async { status(&server).await["calls"].as_array().unwrap().is_empty() }).await;
    assert_eq!(metric(&server, "moshi_call_worst_lag_seconds").await, 0.0, "an empty place shows nothing");
    server.shutdown().await;
}

#[tokio::test]
async fn no_caller_waits_for_the_first_step_of_a_model() {
    let first = Duration::from_secs(2);
    let server = Server::start(config(), peculiar(Habit::Cold(first))).await.unwrap();
    let caller = Caller::connect(&server, "format=pcm").await;
    let (caller, heard) = caller.converse(signal(3, 4), 3).await;
    assert_eq!(heard.of(1).len(), 3);
    let slowest = status(&server).await["tick_ms"]["p99"].as_f64().unwrap();
    assert!(
        slowest < first.as_secs_f64() * 1e3,
        "a step of {slowest} ms: the model was cold when the server was ready"
    );
    caller.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_call_ends_at_its_longest_time_and_the_caller_is_told() {
    let calls = CallLimits { max_duration: Duration::from_secs(1), ..CallLimits::default() };
    let server = start(ServerConfig { calls, ..config() }).await;
    let mut caller = Caller::connect(&server, "format=pcm").await;
    caller.send(1, &signal(1, 1)[0]).await;
    let (code, reason) = caller.hear(Duration::from_secs(8)).await.close.unwrap();
    assert_eq!(code, 4001, "{reason}");
    eventually("the place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
}

#[tokio::test]
async fn capacity_is_measured_and_calls_beyond_it_are_refused() {
    let measured = ServerConfig { max_sessions: MaxSessions::Auto, ..config() };
    let server = Server::start(measured.clone(), peculiar(Habit::Slow(Duration::from_millis(100)))).await.unwrap();
    let told = status(&server).await;
    assert_eq!((&told["capacity"], &told["calibration"][0]["rows"]), (&1.into(), &1.into()));
    assert!(told["calibration"][0]["step_ms"].as_f64().unwrap() >= 100.0, "{told}");
    let only = Caller::connect(&server, "format=pcm").await;
    let refused = Caller::try_connect(&server, "", &[]).await.err().unwrap();
    assert_eq!((refused.status, &refused.body["error"]), (503, &"full".into()));
    assert!(refused.retry_after.is_some());
    only.hang_up().await;
    server.shutdown().await;
    let server = start(measured).await;
    let told = status(&server).await;
    assert_eq!(told["capacity"], 64, "the loopback fits as often as is tried");
    assert!(told["memory"].is_null(), "and takes nothing");
    server.shutdown().await;
    let fixed = start(config()).await;
    assert!(status(&fixed).await["calibration"].is_null());
    fixed.shutdown().await;
}

#[tokio::test]
async fn what_calls_take_is_told_before_the_first_comes() {
    let memory = ModelMemory { weights: 30, session: 7, free: Some(100) };
    let mut host = ModelHost::loopback();
    host.memory = Some(memory);
    let server = Server::start(config(), host).await.unwrap();
    let told = serde_json::json!({ "weights": 30, "session": 7, "sessions_that_fit": 14 });
    assert_eq!(status(&server).await["memory"], told);
    server.shutdown().await;
}

#[tokio::test]
async fn a_model_that_hangs_turns_liveness_red_and_every_caller_is_told() {
    let config = ServerConfig { watchdog: Duration::from_millis(1_500), ..config() };
    let server = Server::start(config, peculiar(Habit::Hangs)).await.unwrap();
    let mut caller = Caller::connect(&server, "format=pcm").await;
    let mut victim = Caller::connect(&server, "format=pcm").await;
    assert!(tokio::time::timeout(Duration::from_secs(3), server.stuck()).await.is_err(), "an idle engine is not stuck");
    victim.send(1, &loud_frame()).await;
    tokio::time::timeout(Duration::from_secs(10), server.stuck()).await.expect("the watchdog bites");
    let (status, _, body) = get(&server, "/health/live", &[]).await;
    assert_eq!((status, body.as_str()), (503, r#"{"status":"stuck"}"#));
    for caller in [&mut caller, &mut victim] {
        let heard = caller.hear(Duration::from_secs(5)).await;
        assert_eq!(heard.close.clone().unwrap().0, 1011);
        assert!(heard.errors().contains("no progress"), "{}", heard.errors());
    }
    assert_eq!(metric(&server, "moshi_engine_stalls_total").await, 1.0);
    assert_eq!(Caller::try_connect(&server, "", &[]).await.err().unwrap().status, 503);
    tokio::time::timeout(Duration::from_secs(8), server.abandon()).await.expect("it ends without its engine");
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let server = start(config()).await;
    let described: serde_json::Value = serde_json::from_str(&get(&server, "/openapi.json", &[]).await.2).unwrap();
    let paths = described["paths"].as_object().unwrap();
    // The one place where routes are made.
    let source = include_str!("../../src/server.rs");
    let routes: Vec<&str> = source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(routes.len() >= 8, "{routes:?}");
    for route in &routes {
        assert!(paths.contains_key(*route), "{route} is missing in {:?}", paths.keys());
    }
    for path in paths.keys() {
        assert!(routes.contains(&path.as_str()), "{path} is described and is no route");
        assert_ne!(get(&server, path, &[]).await.0, 404, "{path}");
    }
    assert!(described["components"]["schemas"]["Status"]["properties"]["tick_ms"].is_object(), "{described}");
    server.shutdown().await;
}
