//! A server in this process on a free port, and what the tests ask it.

use std::time::Duration;

use moshi_backend::Server;
use moshi_backend::config::{ModelSource, ModelSpec, ServerConfig};
use moshi_backend::model::ModelHost;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) use crate::caller::{Caller, Heard};

/// Samples of a frame.
pub(crate) const FRAME: usize = 1_920;
/// Duration of a frame.
pub(crate) const FRAME_TIME: Duration = Duration::from_millis(80);

/// A configuration for tests: loopback, a free port, plain http.
pub(crate) fn config() -> ServerConfig {
    ServerConfig {
        host: "127.0.0.1".to_owned(),
        port: 0,
        max_sessions: 8.into(),
        model: ModelSpec { source: ModelSource::Loopback, ..Default::default() },
        ..Default::default()
    }
}

/// A loopback server.
pub(crate) async fn start(config: ServerConfig) -> Server {
    Server::start(config, ModelHost::loopback()).await.unwrap()
}

/// Status code, headers in lower case, and body of a plain GET.
pub(crate) async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// The value of a counter or gauge; several label sets are added up.
pub(crate) async fn metric(server: &Server, name: &str) -> f64 {
    let (status, _, body) = get(server, "/metrics", &[]).await;
    assert_eq!(status, 200);
    let lines = body.lines().filter(|l| l.starts_with(name) && l[name.len()..].starts_with([' ', '{']));
    lines.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Waits until `check` holds; fails after ten seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..200 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen within ten seconds");
}

/// A signal in which every frame is different, as s16le bytes: `frames` frames of pseudo-random samples.
pub(crate) fn signal(seed: u32, frames: usize) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut sample = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state & 0xffff) as u16
    };
    (0..frames).map(|_| (0..FRAME).flat_map(|_| sample().to_le_bytes()).collect()).collect()
}
