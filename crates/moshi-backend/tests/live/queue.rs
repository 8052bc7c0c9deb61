//! The waiting line.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::{Caller, FRAME, FRAME_TIME, Heard, config, eventually, get, metric, signal, start};
use crate::models::Paced;
use moshi_backend::Server;
use moshi_backend::config::{MaxSessions, QueueConfig, ServerConfig};

async fn house(room: usize, longest: Duration) -> Server {
    start(ServerConfig { max_sessions: 1.into(), queue: QueueConfig { room, longest }, ..config() }).await
}

/// The positions that a caller was told.
fn positions(heard: &Heard) -> Vec<u64> {
    let told = heard.of(4).into_iter().map(|json| serde_json::from_slice::<serde_json::Value>(json).unwrap());
    told.filter_map(|json| json["waiting"]["position"].as_u64()).collect()
}

async fn waiting(server: &Server, count: f64) {
    eventually("the line has this length", || async { metric(server, "moshi_sessions_waiting").await == count }).await;
}

#[tokio::test]
async fn callers_wait_in_line_are_told_where_they_stand_and_get_places_in_order() {
    let server = house(2, Duration::ZERO).await;
    let talking = Caller::connect(&server, "format=pcm").await;
    let mut first = Caller::connect(&server, "format=pcm").await;
    waiting(&server, 1.0).await;
    let mut second = Caller::connect(&server, "format=pcm").await;
    waiting(&server, 2.0).await;
    let refused = Caller::try_connect(&server, "", &[]).await.err().unwrap();
    assert_eq!((refused.status, &refused.body["error"]), (503, &"full".into()), "the line is bounded");
    assert!(refused.retry_after.is_some());
    assert_eq!(positions(&second.hear(Duration::from_millis(500)).await).last(), Some(&2));

    talking.hang_up().await;
    let heard = first.hear(Duration::from_millis(800)).await;
    assert!(positions(&heard).iter().all(|p| *p == 1), "{:?}", positions(&heard));
    assert_eq!(heard.of(0).len(), 1, "the first in line has the place");
    let heard = second.hear(Duration::from_millis(800)).await;
    assert_eq!((positions(&heard).last(), heard.of(0).len()), (Some(&1), 0), "the second moves up and waits");
    let frames = signal(3, 10);
    let (first, heard) = first.converse(frames.clone(), 9).await;
    assert_eq!(heard.of(1), frames[..9]);
    first.hang_up().await;
    assert_eq!(second.hear(Duration::from_millis(800)).await.of(0).len(), 1);
    waiting(&server, 0.0).await;
    second.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn who_hangs_up_leaves_the_line_and_nobody_overtakes_those_who_stay() {
    let server = house(4, Duration::ZERO).await;
    let talking = Caller::connect(&server, "format=pcm").await;
    let quitter = Caller::connect(&server, "").await;
    waiting(&server, 1.0).await;
    let mut patient = Caller::connect(&server, "").await;
    waiting(&server, 2.0).await;
    drop(quitter);
    waiting(&server, 1.0).await;
    talking.hang_up().await;
    assert_eq!(patient.hear(Duration::from_millis(800)).await.of(0).len(), 1);
    let (_, _, body) = get(&server, "/status", &[]).await;
    assert!(body.contains("\"waiting\":0") && body.contains("\"queue\":4"), "{body}");
    patient.hang_up().await;
    server.shutdown().await;
}

/// Callers of a full house, who speak in turns so that nearly every frame is a tick of its own.
const FULL: usize = 8;

async fn full_house(server: &Server) -> Vec<Caller> {
    let mut callers = Vec::new();
    for _ in 0..FULL {
        callers.push(Caller::connect(server, "format=pcm").await);
    }
    callers
}

/// All of them speak, as fast as people do, until the model has taken `ticks` more steps.
async fn speak(callers: &mut [Caller], paced: &Paced, ticks: u64) {
    let frame = vec![0; FRAME * 2];
    let turn = FRAME_TIME / u32::try_from(callers.len()).unwrap();
    let target = paced.steps.load(Ordering::Relaxed) + ticks;
    let deadline = Instant::now() + Duration::from_secs(60);
    while paced.steps.load(Ordering::Relaxed) < target {
        for caller in callers.iter_mut() {
            caller.send(1, &frame).await;
            assert_eq!(caller.hear(turn).await.close, None);
        }
        assert!(Instant::now() < deadline, "the model stands still");
    }
}

/// A server that admits nobody but to an empty house: more than one of twenty of its latest 384 ticks took longer than
/// a frame.
async fn overloaded(paced: &Paced) -> (Server, Vec<Caller>) {
    let queue = QueueConfig { room: 4, longest: Duration::ZERO };
    let config = ServerConfig { max_sessions: MaxSessions::Auto, queue, ..config() };
    let server = Server::start(config, paced.host(FULL)).await.unwrap();
    assert_eq!(server.capacity(), FULL);
    let mut callers = full_house(&server).await;
    paced.millis.store(90, Ordering::Relaxed);
    speak(&mut callers, paced, 40).await;
    paced.millis.store(0, Ordering::Relaxed);
    speak(&mut callers, paced, 345).await;
    (server, callers)
}

#[tokio::test]
async fn nobody_in_line_is_admitted_to_a_machine_that_does_not_keep_up() {
    let paced = Paced::default();
    let (server, mut talking) = overloaded(&paced).await;
    talking.pop().unwrap().hang_up().await;
    let open = talking.len() as f64;
    eventually("a place is free", || async { metric(&server, "moshi_sessions_open").await == open }).await;
    let mut waits = Caller::connect(&server, "format=pcm").await;
    waiting(&server, 1.0).await;
    // It speaks while it waits, as callers do: that must neither get it in nor make it wait longer.
    for _ in 0..10 {
        waits.send(1, &vec![0; FRAME * 2]).await;
        let heard = waits.hear(Duration::from_millis(80)).await;
        assert_eq!((heard.of(0).len(), heard.close), (0, None), "it waits although a place is free");
    }
    assert_eq!(metric(&server, "moshi_sessions_open").await, open);
    let mut behind = Caller::connect(&server, "format=pcm").await;
    waiting(&server, 2.0).await;
    assert_eq!(positions(&behind.hear(Duration::from_millis(300)).await).last(), Some(&2));
    // The slow ticks are forgotten: who is first in line gets the place, and the next has none.
    speak(&mut talking, &paced, 60).await;
    assert_eq!(waits.hear(Duration::from_millis(800)).await.of(0).len(), 1, "the machine keeps up again");
    assert_eq!(behind.hear(Duration::from_millis(300)).await.of(0).len(), 0);
    assert_eq!(metric(&server, "moshi_sessions_refused_total").await, 0.0, "who waits is not refused");
    for caller in talking.into_iter().chain([waits, behind]) {
        caller.hang_up().await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn an_empty_house_takes_the_first_in_line_whatever_its_last_ticks_were() {
    let (server, mut talking) = overloaded(&Paced::default()).await;
    talking.pop().unwrap().hang_up().await;
    let mut waits = Caller::connect(&server, "format=pcm").await;
    waiting(&server, 1.0).await;
    for caller in talking {
        caller.hang_up().await;
    }
    assert_eq!(waits.hear(Duration::from_millis(1_500)).await.of(0).len(), 1);
    waits.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn waiting_ends_after_a_while_and_with_the_server() {
    let server = house(4, Duration::from_millis(400)).await;
    let talking = Caller::connect(&server, "format=pcm").await;
    let mut late = Caller::connect(&server, "").await;
    let heard = late.hear(Duration::from_secs(5)).await;
    assert_eq!(heard.close.clone().unwrap().0, 1013);
    assert!(heard.errors().contains("no place became free"), "{}", heard.errors());
    talking.hang_up().await;
    server.shutdown().await;

    let server = house(4, Duration::ZERO).await;
    let _talking = Caller::connect(&server, "format=pcm").await;
    let mut late = Caller::connect(&server, "").await;
    waiting(&server, 1.0).await;
    let (heard, ()) = tokio::join!(late.hear(Duration::from_secs(5)), server.shutdown());
    assert_eq!(heard.close.unwrap().0, 1001);
}
