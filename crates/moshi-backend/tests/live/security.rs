//! Keys and certificates.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Caller, config, eventually, get, metric, start};
use moshi_backend::auth::KeySource;
use moshi_backend::config::ServerConfig;
use moshi_backend::tls::self_signed;

const KEY: &str = "a-key-of-the-house-0";

fn with_key() -> ServerConfig {
    ServerConfig { api_keys: KeySource { file: None, given: vec![KEY.to_owned()] }, ..config() }
}

#[tokio::test]
async fn calls_need_a_key_and_health_does_not() {
    let server = start(with_key()).await;
    for (headers, words) in [
        (&[][..], "wants a key"),
        (&[("authorization", "Bearer not-the-key-of-this-house")][..], "not one of"),
        (&[("sec-websocket-protocol", "rustymoshi, rustymoshi-key.not-the-key-either")][..], "not one of"),
    ] {
        let refused = Caller::try_connect(&server, "", headers).await.err().unwrap();
        assert_eq!((refused.status, &refused.body["error"]), (401, &"unauthorized".into()), "{headers:?}");
        assert!(refused.body["reason"].as_str().unwrap().contains(words), "{}", refused.body);
    }
    let refused = Caller::try_connect(&server, &format!("api_key={KEY}"), &[]).await.err().unwrap();
    assert_eq!((refused.status, &refused.body["error"]), (400, &"key_in_query".into()));
    assert!(!refused.body.to_string().contains(KEY), "the key is not repeated");
    assert_eq!(metric(&server, "moshi_sessions_refused_total").await, 4.0);

    let bearer = format!("Bearer {KEY}");
    Caller::try_connect(&server, "", &[("authorization", &bearer)]).await.unwrap().hang_up().await;
    let protocols = format!("rustymoshi, rustymoshi-key.{KEY}");
    Caller::try_connect(&server, "", &[("sec-websocket-protocol", &protocols)]).await.unwrap().hang_up().await;
    for path in ["/", "/health", "/health/live", "/status", "/metrics"] {
        let (status, _, body) = get(&server, path, &[]).await;
        assert!(status == 200 && !body.contains(KEY), "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn keys_are_read_again_when_their_file_changes_and_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let api_keys = KeySource { file: Some(file.clone()), given: Vec::new() };
    let server = start(ServerConfig { api_keys, ..config() }).await;
    let opens = async |key: &str| {
        let bearer = format!("Bearer {key}");
        Caller::try_connect(&server, "", &[("authorization", &bearer)]).await.is_ok()
    };
    assert!(opens(KEY).await);
    std::fs::write(&file, "the-next-key-of-the-house\n").unwrap();
    eventually("the new key opens", || opens("the-next-key-of-the-house")).await;
    assert!(!opens(KEY).await);
    std::fs::write(&file, "short\n").unwrap();
    server.reload();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(opens("the-next-key-of-the-house").await, "a broken file changes nothing");
    server.shutdown().await;
    let empty = KeySource { file: Some(folder.path().join("none")), given: Vec::new() };
    let failed = moshi_backend::Server::start(
        ServerConfig { api_keys: empty, ..config() },
        moshi_backend::model::ModelHost::loopback(),
    );
    assert!(failed.await.err().unwrap().to_string().contains("api_key_file: cannot read"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let (here, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = self_signed(here.path(), "localhost").unwrap();
    let next = self_signed(new.path(), "localhost").unwrap();
    let certificate = Some((files.cert.clone(), files.key.clone()));
    let tls = moshi_backend::config::TlsChoice::On;
    let server = Arc::new(start(ServerConfig { certificate, tls, ..config() }).await);
    let trusts =
        async |cert: std::path::PathBuf| crate::http::tls_handshake(&server, &std::fs::read(cert).unwrap()).await;
    let old_copy = here.path().join("old.pem");
    std::fs::copy(&files.cert, &old_copy).unwrap();
    assert!(trusts(files.cert.clone()).await && !trusts(next.cert.clone()).await);
    std::fs::copy(&next.key, &files.key).unwrap();
    std::fs::copy(&next.cert, &files.cert).unwrap();
    eventually("the new certificate is shown", || trusts(next.cert.clone())).await;
    assert!(!trusts(old_copy).await);
    Arc::into_inner(server).unwrap().shutdown().await;
}

/// As an editor of Windows saves them, and as files that were saved so and joined.
#[tokio::test]
async fn certificates_with_byte_order_marks_are_shown_and_other_encodings_are_named() {
    let here = tempfile::tempdir().unwrap();
    let files = self_signed(here.path(), "localhost").unwrap();
    let good = std::fs::read(&files.cert).unwrap();
    for file in [&files.cert, &files.key] {
        let text = std::fs::read_to_string(file).unwrap().replace('\n', "\r\n");
        std::fs::write(file, format!("\u{feff}# a comment\r\n\u{feff}{text}")).unwrap();
    }
    let certificate = Some((files.cert.clone(), files.key.clone()));
    let tls = ServerConfig { certificate, tls: moshi_backend::config::TlsChoice::On, ..config() };
    let server = start(tls.clone()).await;
    assert!(crate::http::tls_handshake(&server, &good).await);
    server.shutdown().await;
    let failed = async |words: &[&str]| {
        let failed = moshi_backend::Server::start(tls.clone(), moshi_backend::model::ModelHost::loopback());
        let error = failed.await.err().unwrap().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    let key = std::fs::read_to_string(&files.key).unwrap();
    std::fs::write(&files.key, key.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    failed(&["key.pem", "UTF-16", "save it as UTF-8"]).await;
    std::fs::write(&files.key, "").unwrap();
    failed(&["key.pem", "are not a certificate and its key"]).await;
    std::fs::remove_file(&files.key).unwrap();
    failed(&["key.pem", "No such file"]).await;
    std::fs::create_dir(&files.key).unwrap();
    failed(&["key.pem", "directory"]).await;
}
