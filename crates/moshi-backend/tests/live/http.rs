//! Everything that is not a call: health, numbers, pages, certificates.

use std::sync::Arc;

use crate::common::{Caller, config, get, start};
use moshi_backend::config::{ServerConfig, TlsChoice};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn health_status_and_build_are_told() {
    let server = start(config()).await;
    for path in ["/health", "/health/ready", "/health/live"] {
        let (status, _, body) = get(&server, path, &[]).await;
        assert_eq!((status, body.as_str()), (200, r#"{"status":"ready"}"#), "{path}");
    }
    let (_, _, body) = get(&server, "/status", &[]).await;
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&told["state"], &told["model"]), (&"ready".into(), &"loopback".into()));
    assert!(told["notice"].as_str().unwrap().contains("hears itself"));
    let (_, _, body) = get(&server, "/api/build_info", &[]).await;
    let built: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(built.as_object().unwrap().len(), 10);
    server.shutdown().await;
}

#[tokio::test]
async fn every_documented_metric_is_there() {
    let server = start(config()).await;
    let caller = Caller::connect(&server, "format=pcm").await;
    let (caller, _) = caller.converse(crate::common::signal(1, 3), 2).await;
    caller.hang_up().await;
    let _ = Caller::try_connect(&server, "format=no", &[]).await;
    crate::common::eventually("the call is counted", || async {
        get(&server, "/metrics", &[]).await.2.contains("moshi_sessions_closed_total")
    })
    .await;
    let (status, head, body) = get(&server, "/metrics", &[]).await;
    assert!(status == 200 && head.contains("text/plain; version=0.0.4"));
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/server.md")).unwrap();
    // Name and kind of every line of the table.
    let table: Vec<(&str, &str)> = guide
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.strip_prefix("moshi_"))
        .map(|l| (l.split(['`', '{']).next().unwrap(), l.split('|').nth(1).unwrap().trim()))
        .collect();
    assert!(table.len() >= 20, "{table:?}");
    for (name, kind) in &table {
        // A counter that has labels appears when it first counts.
        if *name != "bad_input_total" {
            let line = format!("# TYPE moshi_{name} {kind}");
            assert!(body.contains(&line), "{line:?} is documented and missing");
        }
    }
    for line in body.lines().filter_map(|l| l.strip_prefix("# TYPE moshi_")) {
        let name = line.split(' ').next().unwrap();
        assert!(table.iter().any(|(known, _)| *known == name), "moshi_{name} is not documented in docs/server.md");
    }
    assert!(body.contains("moshi_tick_seconds_bucket{le=\"0.07\"}"), "{body}");
    assert!(body.contains("moshi_step_seconds_bucket{le=\"0.08\"}"), "{body}");
    server.shutdown().await;
}

#[tokio::test]
async fn answers_carry_security_headers_and_strange_paths_are_not_found() {
    let server = start(config()).await;
    let (status, head, _) = get(&server, "/no/such/file", &[]).await;
    assert_eq!(status, 404);
    for header in ["x-content-type-options: nosniff", "referrer-policy: no-referrer", "x-frame-options: deny"] {
        assert!(head.contains(header), "{header} is missing in {head}");
    }
    assert_eq!(get(&server, "/../../etc/passwd", &[]).await.0, 404);
    server.shutdown().await;
}

#[tokio::test]
async fn the_page_is_in_the_binary_with_a_strict_policy_and_is_not_sent_twice() {
    let server = start(config()).await;
    let (status, head, body) = get(&server, "/", &[]).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/html; charset=utf-8") && body.contains("<script type=\"module\""),
        "{head}"
    );
    assert!(head.contains("content-security-policy: default-src 'none'") && !head.contains("unsafe"), "{head}");
    let (_, head, _) = get(&server, "/main.js", &[]).await;
    assert!(head.contains("content-type: text/javascript"), "{head}");
    let tag = head.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap();
    let (status, _, body) = get(&server, "/main.js", &[("if-none-match", tag)]).await;
    assert_eq!((status, body.as_str()), (304, ""));
    server.shutdown().await;
}

#[tokio::test]
async fn another_page_is_served_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<p>another page</p>").unwrap();
    let server = start(ServerConfig { static_dir: Some(folder.path().to_owned()), ..config() }).await;
    let (status, head, body) = get(&server, "/", &[]).await;
    assert_eq!((status, body.as_str()), (200, "<p>another page</p>"));
    assert!(!head.contains("content-security-policy"), "a foreign page has its own rules");
    assert_eq!(get(&server, "/../Cargo.toml", &[]).await.0, 404);
    server.shutdown().await;
    let missing = ServerConfig { static_dir: Some(folder.path().join("none")), ..config() };
    let error = moshi_backend::Server::start(missing, moshi_backend::model::ModelHost::loopback()).await.err().unwrap();
    assert!(error.to_string().contains("is not a folder"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_made_once_and_calls_go_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = || ServerConfig { tls: TlsChoice::On, cert_dir: Some(folder.path().join("new/tls")), ..config() };
    let server = start(tls()).await;
    assert!(server.url().starts_with("https://localhost:"), "{}", server.url());
    let files = server.certificate().unwrap().clone();
    let (cert, key) = (std::fs::read(&files.cert).unwrap(), std::fs::read(&files.key).unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only the owner may read the key");
    }
    talk_over_tls(&server, &cert).await;
    server.shutdown().await;

    let server = start(tls()).await;
    assert_eq!(std::fs::read(&files.cert).unwrap(), cert, "the certificate is used again");
    assert_eq!(std::fs::read(&files.key).unwrap(), key);
    talk_over_tls(&server, &cert).await;
    server.shutdown().await;

    std::fs::remove_file(&files.key).unwrap();
    let error = moshi_backend::Server::start(tls(), moshi_backend::model::ModelHost::loopback()).await.err().unwrap();
    assert!(error.to_string().contains("key.pem does not"), "{error}");
    std::fs::write(&files.key, "not a key").unwrap();
    let error = moshi_backend::Server::start(tls(), moshi_backend::model::ModelHost::loopback()).await.err().unwrap();
    assert!(error.to_string().contains("are not a certificate and its key"), "{error}");
}

#[tokio::test]
async fn browsers_are_told_to_insist_on_tls_where_there_is_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = ServerConfig { tls: TlsChoice::On, cert_dir: Some(folder.path().to_owned()), ..config() };
    let server = start(tls.clone()).await;
    let cert = std::fs::read(&server.certificate().unwrap().cert).unwrap();
    for path in ["/", "/health", "/no/such/file", "/api/chat"] {
        let head = head_over_tls(&server, &cert, path, "moshi.example").await;
        assert!(head.contains("strict-transport-security: max-age=15552000"), "{path}: {head}");
    }
    let head = head_over_tls(&server, &cert, "/", &format!("localhost:{}", server.address().port())).await;
    assert!(head.contains("x-frame-options") && !head.contains("strict-transport"), "never for localhost: {head}");
    server.shutdown().await;

    let server = start(ServerConfig { hsts: std::time::Duration::ZERO, ..tls }).await;
    assert!(!head_over_tls(&server, &cert, "/", "moshi.example").await.contains("strict-transport"), "switched off");
    server.shutdown().await;
    let server = start(config()).await;
    let (_, head, _) = get(&server, "/", &[("x-forwarded-proto", "https")]).await;
    assert!(!head.contains("strict-transport"), "without TLS browsers must not be told: {head}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = start(config()).await;
    let same = ServerConfig { port: server.address().port(), ..config() };
    let error = moshi_backend::Server::start(same, moshi_backend::model::ModelHost::loopback()).await.err().unwrap();
    assert!(error.to_string().contains(&format!("port {}", server.address().port())), "{error}");
    assert!(error.to_string().contains("--port"), "{error}");
    server.shutdown().await;
}

/// Whether the server shows this certificate.
pub(crate) async fn tls_handshake(server: &moshi_backend::Server, cert: &[u8]) -> bool {
    connect_tls(server, cert).await.is_ok()
}

pub(crate) async fn connect_tls(
    server: &moshi_backend::Server,
    cert: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = tokio::net::TcpStream::connect(server.address()).await?;
    connector.connect("localhost".try_into().unwrap(), stream).await
}

/// Status line and headers, in lower case, of what a browser gets that knows the server as `host`.
async fn head_over_tls(server: &moshi_backend::Server, cert: &[u8], path: &str, host: &str) -> String {
    let mut stream = connect_tls(server, cert).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).split("\r\n\r\n").next().unwrap().to_lowercase()
}

async fn talk_over_tls(server: &moshi_backend::Server, cert: &[u8]) {
    let stream = connect_tls(server, cert).await.unwrap();
    let url = format!("wss://localhost:{}/api/chat", server.address().port());
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let first = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
    assert_eq!(first.into_data().as_ref(), [0; 9]);
}
