//! Which pages may call, as browsers and proxies ask: on real sockets.

use crate::common::{config, get, start};
use moshi_backend::Server;
use moshi_backend::config::{ServerConfig, TlsChoice};
use moshi_backend::tls::self_signed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Status and body of the answer to a page at `origin` that asks for `host`.
async fn asked(server: &Server, origin: &str, host: &str, more: &[(&str, &str)]) -> (u16, String) {
    let mut request = format!(
        "GET /api/chat HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    );
    for (name, value) in more {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut answer = vec![0; 4096];
    let mut used = 0;
    let mut stream: Box<dyn Stream> = match server.certificate() {
        None => Box::new(tokio::net::TcpStream::connect(server.address()).await.unwrap()),
        Some(files) => {
            let cert = std::fs::read(&files.cert).unwrap();
            Box::new(crate::http::connect_tls(server, &cert).await.unwrap())
        }
    };
    stream.write_all(request.as_bytes()).await.unwrap();
    loop {
        let count = stream.read(&mut answer[used..]).await.unwrap();
        used += count;
        let text = String::from_utf8_lossy(&answer[..used]).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let status: u16 = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        if status == 101 || count == 0 || body.ends_with('}') {
            return (status, body.to_owned());
        }
    }
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for S {}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_page_whose_name_was_made_to_point_here_may_not_call() {
    let server = start(config()).await;
    let port = server.address().port();
    for host in [format!("evil.example:{port}"), "evil.example".to_owned(), format!("EVIL.example.:{port}")] {
        let (status, body) = asked(&server, &format!("http://{host}"), &host, &[]).await;
        assert!(status == 403 && body.contains("not_allowed") && body.contains("--allow-host evil.example"), "{body}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]", "192.0.2.7", "app.localhost", "LOCALHOST."] {
        let address = format!("{host}:{port}");
        assert_eq!(asked(&server, &format!("http://{address}"), &address, &[]).await.0, 101, "{address}");
    }
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if !machine.trim().is_empty() {
        let address = format!("{}:{port}", machine.trim());
        assert_eq!(asked(&server, &format!("http://{address}"), &address, &[]).await.0, 101, "{address}");
    }
    // Programs send no origin, whatever they call the server.
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    assert_ne!(get(&server, "/api/chat?format=no", &upgrade).await.0, 403);
    server.shutdown().await;
}

#[tokio::test]
async fn names_come_from_the_configuration_and_from_the_certificate_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let files = self_signed(folder.path(), "talk.example").unwrap();
    let tls = ServerConfig {
        certificate: Some((files.cert.clone(), files.key.clone())),
        tls: TlsChoice::On,
        allowed_hosts: texts(&["*.talk.example", "other.example:8998"]),
        ..config()
    };
    let server = start(tls).await;
    for (origin, host, expected) in [
        ("https://talk.example", "talk.example", 101),
        ("https://talk.example", "talk.example:443", 101),
        ("https://Talk.Example.", "talk.example:443", 101),
        ("https://a.talk.example", "a.talk.example", 101),
        ("https://other.example", "other.example", 101),
        ("https://other.example", "talk.example:443", 403),
        ("https://talk.example:8443", "talk.example:443", 403),
        ("http://talk.example", "talk.example", 403),
        ("https://strange.example", "strange.example", 403),
    ] {
        assert_eq!(asked(&server, origin, host, &[]).await.0, expected, "{origin} on {host}");
    }
    let new = tempfile::tempdir().unwrap();
    let next = self_signed(new.path(), "strange.example").unwrap();
    std::fs::copy(&next.key, &files.key).unwrap();
    std::fs::copy(&next.cert, &files.cert).unwrap();
    server.reload();
    crate::common::eventually("the new certificate's name is known", || async {
        crate::http::tls_handshake(&server, &std::fs::read(&next.cert).unwrap()).await
            && asked(&server, "https://strange.example", "strange.example", &[]).await.0 == 101
    })
    .await;
    assert_eq!(asked(&server, "https://talk.example", "talk.example", &[]).await.0, 403, "the old one's is not");
    server.shutdown().await;
}

#[tokio::test]
async fn what_a_proxy_forwards_counts_where_the_proxy_is_trusted() {
    let named = ServerConfig { allowed_hosts: texts(&["talk.example"]), ..config() };
    let trusting = ServerConfig { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..named.clone() };
    let strangers = ServerConfig { trusted_proxies: vec!["192.0.2.7".parse().unwrap()], ..named.clone() };
    let (none, trusting, strangers) = (start(named).await, start(trusting).await, start(strangers).await);
    let page = "https://talk.example";
    for more in [
        &[("x-forwarded-host", "talk.example")][..],
        &[("x-forwarded-host", "TALK.example:443")],
        &[("x-forwarded-host", "talk.example"), ("x-forwarded-proto", "https")],
        &[("x-forwarded-host", "talk.example"), ("x-forwarded-port", "443")],
        &[("x-forwarded-host", "talk.example, inner"), ("x-forwarded-proto", "https, http")],
        &[("forwarded", "for=192.0.2.1;proto=https;host=\"talk.example\"")],
    ] {
        assert_eq!(asked(&trusting, page, "moshi:8998", more).await.0, 101, "{more:?}");
        for server in [&none, &strangers] {
            let (status, body) = asked(server, page, "moshi:8998", more).await;
            assert!(status == 403 && body.contains("trusted_proxies"), "{more:?}: {body}");
        }
    }
    for more in [
        &[("x-forwarded-host", "evil.example")][..],
        &[("x-forwarded-host", "talk.example"), ("x-forwarded-proto", "http")],
        &[("x-forwarded-host", "talk.example:8443")],
    ] {
        assert_eq!(asked(&trusting, page, "moshi:8998", more).await.0, 403, "{more:?}");
    }
    let rebound = [("x-forwarded-host", "evil.example")];
    assert_eq!(asked(&trusting, "http://evil.example", "moshi:8998", &rebound).await.0, 403);
    assert_eq!(asked(&trusting, page, "talk.example:443", &[]).await.0, 101, "a proxy that passes Host on");
    for server in [none, trusting, strangers] {
        server.shutdown().await;
    }
}

#[tokio::test]
async fn pages_elsewhere_may_call_where_they_are_allowed() {
    let friends = ServerConfig { allowed_origins: texts(&["https://friend.example/", "null"]), ..config() };
    let server = start(friends).await;
    for (origin, expected) in [
        ("https://friend.example", 101),
        ("https://friend.example:443", 101),
        ("https://FRIEND.example.", 101),
        ("null", 101),
        ("http://friend.example", 403),
        ("https://friend.example:8443", 403),
        ("https://friend.example.evil.example", 403),
    ] {
        assert_eq!(asked(&server, origin, "moshi.internal:8998", &[]).await.0, expected, "{origin}");
    }
    server.shutdown().await;
    let server = start(ServerConfig { allowed_origins: texts(&["*"]), ..config() }).await;
    assert_eq!(asked(&server, "https://any.example", "any.example", &[]).await.0, 101);
    server.shutdown().await;
}
