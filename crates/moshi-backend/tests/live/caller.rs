//! A caller on a real socket.

use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, Stream, StreamExt};
use moshi_backend::Server;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::common::FRAME_TIME;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Everything a caller heard.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// Messages of the protocol in their order, with their arrival.
    pub(crate) messages: Vec<(Instant, Vec<u8>)>,
    /// The close frame's code and reason.
    pub(crate) close: Option<(u16, String)>,
}

impl Heard {
    /// Payloads of one type.
    pub(crate) fn of(&self, kind: u8) -> Vec<&[u8]> {
        self.messages.iter().filter(|(_, m)| m[0] == kind).map(|(_, m)| &m[1..]).collect()
    }

    /// All text, joined.
    pub(crate) fn text(&self) -> String {
        self.of(2).iter().map(|t| std::str::from_utf8(t).unwrap()).collect()
    }

    /// All errors, joined.
    pub(crate) fn errors(&self) -> String {
        self.of(5).iter().map(|t| std::str::from_utf8(t).unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// Longest time between two audio messages.
    pub(crate) fn largest_gap(&self) -> Duration {
        let times: Vec<Instant> = self.messages.iter().filter(|(_, m)| m[0] == 1).map(|(at, _)| *at).collect();
        times.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default()
    }

    fn take(&mut self, message: Option<Result<Message, Error>>) -> bool {
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                assert!(!bytes.is_empty(), "an empty message");
                self.messages.push((Instant::now(), bytes.to_vec()));
                true
            }
            Some(Ok(Message::Close(frame))) => {
                self.close = frame.map(|f| (f.code.into(), f.reason.to_string()));
                true
            }
            Some(Ok(Message::Text(text))) => panic!("a text frame: {text}"),
            Some(Ok(_)) => true,
            Some(Err(_)) | None => false,
        }
    }
}

/// Hears until the connection ends or `time` is over.
pub(crate) async fn hear(mut source: impl Stream<Item = Result<Message, Error>> + Unpin, time: Duration) -> Heard {
    let mut heard = Heard::default();
    let end = tokio::time::Instant::now() + time;
    while let Ok(message) = tokio::time::timeout_at(end, source.next()).await {
        if !heard.take(message) {
            break;
        }
    }
    heard
}

/// As [`hear`], until `enough` audio messages have come.
pub(crate) async fn hear_until(
    mut source: impl Stream<Item = Result<Message, Error>> + Unpin,
    time: Duration,
    enough: usize,
) -> Heard {
    let mut heard = Heard::default();
    let end = tokio::time::Instant::now() + time;
    while heard.of(1).len() < enough {
        let Ok(message) = tokio::time::timeout_at(end, source.next()).await else { break };
        if !heard.take(message) {
            break;
        }
    }
    heard
}

/// A connected caller.
pub(crate) struct Caller {
    pub(crate) sink: SplitSink<Socket, Message>,
    pub(crate) source: SplitStream<Socket>,
}

/// What a refused caller learns.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: serde_json::Value,
}

impl Caller {
    /// Calls; the query has no question mark.
    pub(crate) async fn connect(server: &Server, query: &str) -> Self {
        Self::try_connect(server, query, &[]).await.unwrap()
    }

    /// Calls with extra request headers.
    pub(crate) async fn try_connect(
        server: &Server,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let url = format!("ws://{}/api/chat?{query}", server.address());
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => Ok(Self::over(socket)),
            Err(Error::Http(response)) => Err(Refused {
                status: response.status().as_u16(),
                retry_after: response.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned()),
                body: serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default(),
            }),
            Err(other) => panic!("{other}"),
        }
    }

    /// A caller over a socket that is open.
    pub(crate) fn over(socket: Socket) -> Self {
        let (sink, source) = socket.split();
        Self { sink, source }
    }

    /// Sends one message of the protocol.
    pub(crate) async fn send(&mut self, kind: u8, payload: &[u8]) {
        let mut message = vec![kind];
        message.extend_from_slice(payload);
        self.sink.send(Message::Binary(message.into())).await.unwrap();
    }

    /// Hears until the connection ends or `time` is over.
    pub(crate) async fn hear(&mut self, time: Duration) -> Heard {
        hear(&mut self.source, time).await
    }

    /// Sends each payload as an audio message in real time and hears meanwhile and until `enough` audio messages
    /// came; gives up four seconds after the last was sent.
    pub(crate) async fn converse(self, payloads: Vec<Vec<u8>>, enough: usize) -> (Self, Heard) {
        let Self { mut sink, mut source } = self;
        let last = FRAME_TIME * u32::try_from(payloads.len()).unwrap() + Duration::from_secs(4);
        let speak = async move {
            let mut clock = tokio::time::interval(FRAME_TIME);
            for payload in payloads {
                clock.tick().await;
                let message = [&[1], payload.as_slice()].concat();
                if sink.send(Message::Binary(message.into())).await.is_err() {
                    break;
                }
            }
            sink
        };
        let listen = async move {
            let heard = hear_until(&mut source, last, enough).await;
            (source, heard)
        };
        let (sink, (source, heard)) = tokio::join!(speak, listen);
        (Self { sink, source }, heard)
    }

    /// Hangs up politely.
    pub(crate) async fn hang_up(mut self) {
        let _ = self.sink.send(Message::Close(None)).await;
        let _ = self.hear(Duration::from_secs(2)).await;
    }
}
