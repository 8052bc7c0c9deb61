//! A client of `/v1/realtime` on a real socket.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use moshi_backend::Server;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::caller::Socket;

/// A client of this protocol.
pub(crate) struct Client(pub(crate) Socket);

impl Client {
    pub(crate) async fn connect(server: &Server, headers: &[(&'static str, &str)]) -> Result<Self, Box<Error>> {
        Self::connect_with(server, "model=any", headers).await
    }

    /// With this query.
    pub(crate) async fn connect_with(
        server: &Server,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Box<Error>> {
        let url = format!("ws://{}/v1/realtime?{query}", server.address());
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        tokio_tungstenite::connect_async(request).await.map(|(socket, _)| Self(socket)).map_err(Box::new)
    }

    pub(crate) async fn send(&mut self, event: Value) {
        self.0.send(Message::Text(event.to_string().into())).await.unwrap();
    }

    pub(crate) async fn append(&mut self, audio: &[u8]) {
        self.send(json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode(audio) })).await;
    }

    /// The next event, or the close code as `{"close": code}`.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await.expect("no event came");
            match message.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => return json!({ "close": u16::from(frame.unwrap().code) }),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Events up to the first of this kind.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let last = event["type"] == kind;
            assert!(event.get("close").is_none(), "closed with {event} before {kind}: {events:?}");
            events.push(event);
            if last {
                return events;
            }
        }
    }

    pub(crate) async fn last(&mut self, kind: &str) -> Value {
        self.until(kind).await.pop().unwrap()
    }

    /// Sends an event of this kind with these fields, and gives the first answer that is `kind` or an error.
    pub(crate) async fn ask(&mut self, mut event: Value, kind: &str) -> Value {
        event["event_id"] = json!("mine");
        self.send(event).await;
        loop {
            let event = self.next().await;
            if event["type"] == kind || event["type"] == "error" || event.get("close").is_some() {
                return event;
            }
        }
    }
}
