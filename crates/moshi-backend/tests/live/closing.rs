//! A close frame is answered with one of the same code (RFC 6455, 5.5.1), at every moment of a call; ours are sent before
//! the connection ends.

use std::time::Duration;

use crate::caller::Socket;
use crate::common::{Caller, config, eventually, metric, signal, start};
use crate::realtime_client::Client;
use futures_util::{SinkExt, StreamExt};
use moshi_backend::Server;
use moshi_backend::config::{QueueConfig, ServerConfig};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, OpCode};

const PATHS: [&str; 3] = ["/api/chat", "/api/chat?format=pcm", "/v1/realtime"];

async fn connect(server: &Server, path: &str) -> Socket {
    tokio_tungstenite::connect_async(format!("ws://{}{path}", server.address())).await.unwrap().0
}

/// Reads to the end of the connection: the code and reason of the close frame, if one came. The end must come soon.
async fn farewell(socket: &mut Socket) -> Option<(u16, String)> {
    let mut close = None;
    let rest = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                close = Some(frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string())));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3), rest).await.expect("the connection ends");
    close
}

/// Closes with this code and reason; gives the answer.
async fn hang_up(socket: &mut Socket, code: u16, reason: &str) -> Option<(u16, String)> {
    let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
    socket.send(Message::Close(Some(frame))).await.unwrap();
    farewell(socket).await
}

#[tokio::test]
async fn every_code_is_answered_with_itself_on_every_socket() {
    let server = start(config()).await;
    for path in PATHS {
        for code in [1000, 1001, 1003, 1008, 1009, 1011, 1012, 3000, 3999, 4000, 4999] {
            for reason in ["", "bye", "tschüß"] {
                let mut socket = connect(&server, path).await;
                let answer = hang_up(&mut socket, code, reason).await;
                assert_eq!(answer.map(|(code, _)| code), Some(code), "{path} {code} {reason:?}");
            }
        }
        let mut socket = connect(&server, path).await;
        socket.send(Message::Close(None)).await.unwrap();
        assert_eq!(farewell(&mut socket).await, Some((1005, String::new())), "{path}: an empty one with an empty one");
    }
    eventually("every place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
}

#[tokio::test]
async fn close_frames_that_are_none_are_answered_as_the_protocol_says() {
    let server = start(config()).await;
    let payload = |code: u16, reason: &[u8]| [&code.to_be_bytes(), reason].concat();
    for path in PATHS {
        for (bytes, expected) in [
            (payload(0, b""), 1002),
            (payload(999, b""), 1002),
            (payload(1004, b""), 1002),
            (payload(1005, b""), 1002),
            (payload(1006, b"bye"), 1002),
            (payload(1015, b""), 1002),
            (payload(2000, b""), 1002),
            (payload(5000, b""), 1002),
            (payload(65_535, b""), 1002),
            (vec![3], 1002),
            (payload(1000, b"\xff\xfe"), 1007),
        ] {
            let mut socket = connect(&server, path).await;
            let frame = Frame::message(bytes.clone(), OpCode::Control(Control::Close), true);
            socket.send(Message::Frame(frame)).await.unwrap();
            let answer = farewell(&mut socket).await;
            assert_eq!(answer.map(|(code, _)| code), Some(expected), "{path} {bytes:?}");
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_close_frame_is_answered_at_every_moment_of_a_call() {
    let queue = QueueConfig { room: 2, longest: Duration::ZERO };
    let server = start(ServerConfig { max_sessions: 4.into(), queue, ..config() }).await;
    let bye = Some((4_321, "bye".to_owned()));

    // While audio goes both ways, and with more of it on its way than was heard.
    let mut socket = connect(&server, "/api/chat?format=pcm").await;
    for frame in signal(1, 40) {
        socket.send(Message::Binary([&[1], frame.as_slice()].concat().into())).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hang_up(&mut socket, 4_321, "bye").await, bye, "during audio");

    // After a message that was no good.
    let mut socket = connect(&server, "/api/chat").await;
    socket.send(Message::Text("hello?".into())).await.unwrap();
    assert_eq!(hang_up(&mut socket, 4_321, "bye").await, bye, "after an error");

    // In a response.
    let mut client = Client::connect(&server, &[]).await.unwrap();
    client.append(&signal(2, 30).concat()).await;
    client.last("response.output_audio.delta").await;
    client.send(json!({ "type": "no.such.event" })).await;
    assert_eq!(hang_up(&mut client.0, 4_321, "bye").await, bye, "in a response");

    // In the waiting line.
    let mut house = Vec::new();
    eventually("every place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    for _ in 0..4 {
        house.push(Caller::connect(&server, "").await);
    }
    let mut socket = connect(&server, "/api/chat").await;
    eventually("it waits", || async { metric(&server, "moshi_sessions_waiting").await == 1.0 }).await;
    assert_eq!(hang_up(&mut socket, 4_321, "bye").await, bye, "in the waiting line");
    eventually("it is gone", || async { metric(&server, "moshi_sessions_waiting").await == 0.0 }).await;
    let (_, _, body) = crate::common::get(&server, "/metrics", &[]).await;
    assert!(body.contains("moshi_sessions_closed_total{reason=\"left\"} 4"), "{body}");
    drop(house);
    server.shutdown().await;
}

#[tokio::test]
async fn who_closes_at_the_same_time_as_the_server_gets_one_close_frame() {
    let server = start(config()).await;
    let mut socket = connect(&server, "/api/chat?format=pcm&max_steps=1").await;
    for frame in signal(3, 3) {
        socket.send(Message::Binary([&[1], frame.as_slice()].concat().into())).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The server has closed; its frame lies unread.
    let _ = socket.send(Message::Close(None)).await;
    assert_eq!(farewell(&mut socket).await.map(|(code, _)| code), Some(1_000));
    eventually("the place is free", || async { metric(&server, "moshi_sessions_open").await == 0.0 }).await;
    server.shutdown().await;
}
