//! Keys of a minute, and the list of models: what browser clients ask for before they call.

use std::time::Duration;

use crate::common::{Caller, config, eventually, get, metric, start};
use crate::realtime_client::Client;
use moshi_backend::Server;
use moshi_backend::auth::KeySource;
use moshi_backend::config::{QuotaConfig, ServerConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEY: &str = "a-key-that-nobody-guesses";

/// Status and body of a POST with this key.
async fn post(server: &Server, path: &str, key: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split_whitespace().nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

async fn opens(server: &Server, key: &str) -> bool {
    let protocols = format!("realtime, openai-insecure-api-key.{key}");
    Client::connect(server, &[("sec-websocket-protocol", protocols.as_str())]).await.is_ok()
}

#[tokio::test]
async fn a_key_of_a_minute_opens_a_call_and_lends_nothing() {
    let api_keys = KeySource { file: None, given: vec![KEY.to_owned()] };
    let quotas = QuotaConfig { per_key: 1, ..QuotaConfig::default() };
    let server = start(ServerConfig { api_keys, quotas, ..config() }).await;
    let secrets = "/v1/realtime/client_secrets";
    assert_eq!(post(&server, secrets, "not-a-key-of-this-house", "{}").await.0, 401);
    let (status, made) = post(&server, secrets, KEY, r#"{"session":{"type":"realtime","model":"any"}}"#).await;
    assert_eq!((status, &made["session"]["type"]), (200, &"realtime".into()));
    let key = made["value"].as_str().unwrap().to_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 50..=now + 61).contains(&made["expires_at"].as_u64().unwrap()), "{made}");
    assert!(opens(&server, &key).await && !opens(&server, "ek_of_nobody").await);
    assert_eq!(post(&server, secrets, &key, "").await.0, 401, "a lent key lends no other");
    let (status, made) = post(&server, "/v1/realtime/sessions", KEY, "").await;
    let lent = made["client_secret"]["value"].as_str().unwrap();
    let call = async |key: &str| {
        let bearer = format!("Bearer {key}");
        Caller::try_connect(&server, "", &[("authorization", bearer.as_str())]).await
    };
    eventually("no call is open", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    let open = call(lent).await.unwrap();
    let over = [call(&key).await, call(KEY).await].map(|refused| refused.err().unwrap().status);
    assert_eq!((status, over), (200, [429, 429]), "lent keys count as the one that lent them");
    assert_eq!(post(&server, secrets, KEY, "").await.0, 200, "which may lend more nevertheless");
    open.hang_up().await;
    for wrong in ["{", r#"{"expires_after":{"seconds":1}}"#, r#"{"expires_after":{"seconds":"x"}}"#] {
        assert_eq!(post(&server, secrets, KEY, wrong).await.0, 400, "{wrong}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_lent_key_ends_with_the_key_that_lent_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let api_keys = KeySource { file: Some(file.clone()), given: Vec::new() };
    let server = start(ServerConfig { api_keys, ..config() }).await;
    let (_, made) = post(&server, "/v1/realtime/client_secrets", KEY, "").await;
    let key = made["value"].as_str().unwrap();
    assert!(opens(&server, key).await);
    std::fs::write(&file, "another-key-of-this-house\n").unwrap();
    server.reload();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!opens(&server, key).await);
    server.shutdown().await;
}

#[tokio::test]
async fn there_is_one_model() {
    let server = start(config()).await;
    let (status, _, body) = get(&server, "/v1/models", &[]).await;
    let list: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &list["object"], &list["data"][0]["id"]), (200, &"list".into(), &"loopback".into()));
    assert!(list["data"][0]["created"].is_u64() && list["data"][0]["object"] == "model", "{list}");
    server.shutdown().await;
}
