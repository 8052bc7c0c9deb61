//! The waiting line.

use std::time::Duration;

use crate::common::{Caller, Heard, config, eventually, get, metric, signal, start};
use moshi_backend::Server;
use moshi_backend::config::{QueueConfig, ServerConfig};

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
