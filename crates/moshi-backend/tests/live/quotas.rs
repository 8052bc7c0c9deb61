//! How much one caller may take, and how many connections there may be.

use crate::caller::Refused;
use crate::common::{Caller, config, eventually, get, metric, start};
use crate::realtime_client::Client;
use moshi_backend::auth::KeySource;
use moshi_backend::config::{QueueConfig, QuotaConfig, ServerConfig};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

fn quota(refused: Refused, words: &str) {
    assert_eq!((refused.status, &refused.body["error"]), (429, &"quota".into()));
    assert!(refused.body["reason"].as_str().unwrap().contains(words), "{}", refused.body);
    assert!(refused.retry_after.is_some());
}

#[tokio::test]
async fn an_address_has_a_share_of_places_and_line_and_proxies_say_whose_it_is() {
    let queue = QueueConfig { room: 4, longest: Duration::ZERO };
    let quotas = QuotaConfig { per_address: 2, ..QuotaConfig::default() };
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let server = start(ServerConfig { max_sessions: 2.into(), queue, quotas, trusted_proxies, ..config() }).await;
    let from = |address: &'static str| [("x-forwarded-for", address)];
    let call = async |address| Caller::try_connect(&server, "", &from(address)).await;
    let first = call("203.0.113.1").await.unwrap();
    let second = call("198.51.100.9, 203.0.113.1").await.unwrap();
    quota(call("203.0.113.1").await.err().unwrap(), "address has 2 calls");
    let refused = Client::connect(&server, &from("203.0.113.1")).await.err().map(|error| *error);
    assert!(matches!(refused, Some(Error::Http(answer)) if answer.status() == 429), "on every door");
    let (waits, more) = (call("203.0.113.2").await.unwrap(), call("203.0.113.2").await.unwrap());
    quota(call("203.0.113.2").await.err().unwrap(), "address");
    let household = call("2001:db8:1:2::3").await.unwrap();
    let neighbour = call("[2001:db8:1:2::4]:99").await.unwrap();
    let refused = call("2001:db8:1:2:ffff::1").await.err().unwrap();
    assert!(refused.status == 429, "one network of 64 bits is one household: {refused:?}");
    drop((waits, more, household, neighbour));
    eventually("the line is empty", || async { metric(&server, "moshi_sessions_waiting").await == 0.0 }).await;
    first.hang_up().await;
    call("203.0.113.1").await.unwrap().hang_up().await;
    second.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn who_is_no_trusted_proxy_cannot_say_who_calls() {
    let quotas = QuotaConfig { per_address: 1, ..QuotaConfig::default() };
    let server = start(ServerConfig { quotas, ..config() }).await;
    let _first = Caller::try_connect(&server, "", &[("x-forwarded-for", "203.0.113.1")]).await.unwrap();
    quota(Caller::try_connect(&server, "", &[("x-forwarded-for", "203.0.113.2")]).await.err().unwrap(), "address");
    // A refusal for another reason takes nothing.
    server.shutdown().await;
}

#[tokio::test]
async fn a_key_has_a_share_wherever_it_calls_from() {
    let keys = ["the-first-key-of-two", "the-second-key-of-two"];
    let quotas = QuotaConfig { per_key: 1, ..QuotaConfig::default() };
    let api_keys = KeySource { file: None, given: keys.iter().map(|key| (*key).to_owned()).collect() };
    let server = start(ServerConfig { quotas, api_keys, ..config() }).await;
    let call = async |key: &str, query: &str| {
        let bearer = format!("Bearer {key}");
        Caller::try_connect(&server, query, &[("authorization", bearer.as_str())]).await
    };
    assert_eq!(call(keys[0], "text_topk=x").await.err().unwrap().status, 400, "a refusal takes no share");
    let first = call(keys[0], "").await.unwrap();
    quota(call(keys[0], "").await.err().unwrap(), "key has 1 calls");
    let protocols = format!("rustymoshi, rustymoshi-key.{}", keys[0]);
    let browser = Caller::try_connect(&server, "", &[("sec-websocket-protocol", protocols.as_str())]).await;
    quota(browser.err().unwrap(), "key");
    let other = call(keys[1], "").await.unwrap();
    first.hang_up().await;
    call(keys[0], "").await.unwrap().hang_up().await;
    other.hang_up().await;
    server.shutdown().await;
}

#[tokio::test]
async fn connections_are_bounded_and_calls_count_as_long_as_they_last() {
    let quotas = QuotaConfig { connections: 3, ..QuotaConfig::default() };
    let server = start(ServerConfig { quotas, ..config() }).await;
    let call = Caller::connect(&server, "").await;
    let idle =
        [TcpStream::connect(server.address()).await.unwrap(), TcpStream::connect(server.address()).await.unwrap()];
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut beyond = TcpStream::connect(server.address()).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(2), beyond.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "it is closed unread: {closed:?}");
    drop(idle);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (status, _, body) = get(&server, "/metrics", &[]).await;
    assert!(status == 200 && body.contains("moshi_connections_refused_total 1"), "{body}");
    call.hang_up().await;
    server.shutdown().await;
}
