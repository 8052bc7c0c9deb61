//! A server that behaves like the hub, on real sockets: small files by a redirect within the hub, large ones by a
//! redirect to another host, ranges, checksums as names, and the ways in which all that can go wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Whether it came to the host that holds large files.
    pub(crate) storage: bool,
}

/// What the hub holds and how it misbehaves.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) repo: String,
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Files at least this long are large ones.
    pub(crate) large: usize,
    /// Token that is required, if any.
    pub(crate) token: Option<String>,
    /// Whether terms have to be accepted first.
    pub(crate) gated: bool,
    /// The next answers with a body end after this many bytes of it, one entry each.
    pub(crate) cuts: Vec<usize>,
    /// The next answers have this status, one entry each.
    pub(crate) statuses: Vec<u16>,
    /// Ranges are ignored.
    pub(crate) no_ranges: bool,
    /// Announced instead of the right checksum.
    pub(crate) etag: Option<String>,
    /// Redirects name no place to go to.
    pub(crate) nowhere: bool,
    /// Redirects within the hub lead back to where they come from.
    pub(crate) circle: bool,
    /// Bodies never begin.
    pub(crate) silent: bool,
    /// Bodies come a little at a time, in steps of 10 ms.
    pub(crate) slow: bool,
    /// Every answer of the hub has this status.
    pub(crate) refusal: Option<u16>,
    /// Every answer of the hub is a web page.
    pub(crate) page: bool,
    /// The name of the commit, besides main.
    pub(crate) revision: Option<String>,
    pub(crate) log: Vec<Request>,
    /// Where large files are; set at the start.
    pub(crate) storage: Option<SocketAddr>,
}

/// A running hub; it serves until the test ends.
pub(crate) struct FakeHub {
    pub(crate) endpoint: String,
    pub(crate) state: Arc<Mutex<State>>,
}

impl FakeHub {
    pub(crate) fn start(mut state: State) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        state.storage = Some(storage.local_addr().unwrap());
        let endpoint = format!("http://{}", hub.local_addr().unwrap());
        let state = Arc::new(Mutex::new(state));
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let state = state.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    std::thread::spawn(move || serve(stream, is_storage, &state));
                }
            });
        }
        Self { endpoint, state }
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

fn serve(mut stream: TcpStream, storage: bool, state: &Mutex<State>) {
    let Some(request) = read(&stream, storage) else { return };
    let is_head = request.method == "HEAD";
    let (reply, cut, silent, slow) = {
        let mut state = state.lock().unwrap();
        state.log.push(request.clone());
        let reply = match state.statuses.is_empty() {
            true => answer(&state, &request),
            false => Reply::new(state.statuses.remove(0)),
        };
        let has_body = !is_head && !reply.body.is_empty();
        let cut = (has_body && !state.cuts.is_empty()).then(|| state.cuts.remove(0));
        (reply, cut, state.silent && has_body, state.slow)
    };
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(n, _)| n == "content-length") {
        head += &format!("content-length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = if is_head { &[] } else { &reply.body[..cut.unwrap_or(reply.body.len()).min(reply.body.len())] };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(b"\r\n"));
    if silent {
        std::thread::sleep(std::time::Duration::from_secs(5));
    }
    for piece in body.chunks(if slow { 1_000 } else { usize::MAX }) {
        if stream.write_all(piece).is_err() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(if slow { 10 } else { 0 }));
    }
}

fn read(stream: &TcpStream, storage: bool) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut range, mut authorization) = (None, None);
    for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => range = Some(value.to_owned()),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(Request { method, path, range, authorization, storage })
}

fn answer(state: &State, request: &Request) -> Reply {
    if request.storage {
        let name = request.path.trim_start_matches("/large/");
        return state.files.get(name).map_or(Reply::new(404), |body| content(state, request, body));
    }
    if let Some(status) = state.refusal {
        return Reply::new(status).with("x-error-message", "so it is");
    }
    if state.page {
        return Reply { body: b"<html>log in</html>".to_vec(), ..Reply::new(200).with("content-type", "text/html") };
    }
    if let Some(rest) = request.path.strip_prefix("/api/resolve-cache/") {
        let name = rest.split_once('/').map_or("", |(_, name)| name);
        let Some(body) = state.files.get(name) else { return Reply::new(404) };
        // Small files are named by git's hash, forty digits.
        let etag = state.etag.clone().unwrap_or_else(|| sha256(body)[..40].to_owned());
        return content(state, request, body).with("etag", format!("\"{etag}\"")).with("x-repo-commit", &state.commit);
    }
    let (repo, file) = match request.path.trim_start_matches('/').split_once("/resolve/") {
        // A revision is one segment of the address.
        Some((repo, rest)) => (repo, rest.split_once('/').filter(|(r, _)| is_revision(state, &r.replace("%2F", "/")))),
        None => ("", None),
    };
    let allowed = state.token.is_none() || request.authorization == state.token.as_ref().map(|t| format!("Bearer {t}"));
    if repo != state.repo || !allowed {
        // The hub does not tell a stranger whether a private repository exists.
        let status = if request.authorization.is_some() { 404 } else { 401 };
        return Reply::new(status).with("x-error-code", "RepoNotFound").with("x-error-message", "Repository not found");
    }
    if state.gated {
        let message = "Access to this model is restricted";
        return Reply::new(403).with("x-error-code", "GatedRepo").with("x-error-message", message);
    }
    let Some((_, file)) = file else { return Reply::new(404).with("x-error-code", "RevisionNotFound") };
    let Some(body) = state.files.get(file) else {
        return Reply::new(404).with("x-error-code", "EntryNotFound").with("x-repo-commit", &state.commit);
    };
    redirect(state, request, file, body)
}

fn is_revision(state: &State, name: &str) -> bool {
    name == "main" || name == state.commit || state.revision.as_deref() == Some(name)
}

fn redirect(state: &State, request: &Request, file: &str, body: &[u8]) -> Reply {
    let reply = |status| Reply::new(status).with("x-repo-commit", &state.commit);
    if state.nowhere {
        return reply(302);
    }
    if body.len() < state.large {
        let to = match state.circle {
            true => request.path.clone(),
            false => format!("/api/resolve-cache/{}/{file}", state.commit),
        };
        return reply(307).with("location", to);
    }
    let storage = state.storage.unwrap();
    reply(302)
        .with("location", format!("http://{storage}/large/{file}"))
        .with("x-linked-etag", format!("\"{}\"", state.etag.clone().unwrap_or_else(|| sha256(body))))
        .with("x-linked-size", body.len())
}

/// A file, or the part of it that the range asks for.
fn content(state: &State, request: &Request, body: &[u8]) -> Reply {
    let start = request.range.as_ref().filter(|_| !state.no_ranges);
    let start = start.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let length = body.len();
    let mut reply = match start {
        None => Reply::new(200),
        Some(start) if start >= length => return Reply::new(416),
        Some(start) => Reply::new(206).with("content-range", format!("bytes {start}-{}/{length}", length - 1)),
    };
    reply.body = body[start.unwrap_or(0)..].to_vec();
    let length = reply.body.len();
    reply.with("content-length", length)
}
