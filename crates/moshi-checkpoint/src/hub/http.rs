//! Speaking with the hub: asking about files, redirects, the token, time limits.

use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, Uri};

use super::names::is_safe;
use super::{HubError, HubOptions, Progress};
use crate::hub_source::{escape_path, escape_segment};
use crate::stop;

/// The longest wait for an answer about a file: a model in the cache should start soon when there is no network.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file as the hub announces it.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    commit: String,
    /// Name of the blob: SHA-256 of a large file, git's hash of a small one.
    pub(super) etag: String,
    pub(super) size: u64,
}

/// What the hub says about a file.
pub(super) enum Answer {
    File(Remote),
    NoFile { commit: String },
}

impl Answer {
    pub(super) fn commit(&self) -> &str {
        match self {
            Self::File(remote) => &remote.commit,
            Self::NoFile { commit } => commit,
        }
    }
}

/// Speaks with one hub about one repository.
pub(super) struct Client {
    pub(super) agent: Agent,
    pub(super) endpoint: String,
    repo: String,
    pub(super) authorization: Option<String>,
    pub(super) retries: u32,
    pub(super) pause: Duration,
    patience: Duration,
}

pub(super) type Body = Response<ureq::Body>;

type Request = ureq::RequestBuilder<ureq::typestate::WithoutBody>;

impl Client {
    pub(super) fn new(options: &HubOptions, repo: &str) -> Result<Self, HubError> {
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = endpoint.parse().ok();
        let host =
            uri.filter(|u| matches!(u.scheme_str(), Some("http" | "https"))).and_then(|u| u.host().map(str::to_owned));
        let Some(host) = host else {
            let expected = "an address such as https://huggingface.co";
            return Err(HubError::Setting { setting: "HF_ENDPOINT", found: format!("{endpoint:?}"), expected });
        };
        let token = options.token.as_deref();
        if token.is_some_and(|t| !t.bytes().all(|b| b.is_ascii_graphic())) {
            let found = "a text with spaces or special characters".to_owned();
            return Err(HubError::Setting { setting: "HF_TOKEN", found, expected: "an access token such as hf_..." });
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(options.patience))
            .timeout_connect(Some(options.patience))
            .timeout_recv_response(Some(options.patience))
            .timeout_per_read(Some(options.patience))
            .user_agent(concat!("rustymoshi/", env!("CARGO_PKG_VERSION")));
        if matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
            // A proxy cannot reach a hub on this machine.
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().into(),
            endpoint,
            repo: repo.to_owned(),
            authorization: token.map(|t| format!("Bearer {t}")),
            retries: options.retries,
            pause: options.retry_pause,
            patience: options.patience,
        })
    }

    /// Asks about a file of a revision.
    pub(super) fn describe(
        &self,
        revision: &str,
        file: &str,
        what: &str,
        progress: &dyn Progress,
    ) -> Result<Answer, HubError> {
        // One more try at most: a model in the cache should start soon when there is no network.
        let mut tries = Tries::new(self.retries.min(1), self.pause);
        loop {
            match self.describe_once(revision, file, what) {
                Err(e) if e.is_passing() => tries.again(e, what, progress)?,
                other => return other,
            }
        }
    }

    fn describe_once(&self, revision: &str, file: &str, what: &str) -> Result<Answer, HubError> {
        let mut url = self.url(revision, file);
        let (mut commit, mut etag, mut size) = (None, None, None);
        for _ in 0..5 {
            let response = self.request(self.ask(&url), &url, what)?;
            let get = |name: &str| header(&response, name);
            commit = commit.or_else(|| get("x-repo-commit")).filter(|c| is_safe(c));
            etag = etag.or_else(|| get("x-linked-etag"));
            size = size.or_else(|| get("x-linked-size"));
            let status = response.status();
            if status.is_redirection() {
                let next = self.redirect(&response, &url, what)?;
                if self.is_own(&next) {
                    url = next;
                    continue;
                }
            } else if !status.is_success() {
                return self.refusal(&response, commit, what);
            }
            if commit.is_none() && get("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
                return Err(self.answer(what, "a web page (does a network or a proxy want a login?)".to_owned()));
            }
            etag = etag.or_else(|| get("etag"));
            size = size.or_else(|| get("content-length").filter(|_| status.is_success()));
            return self.announced(commit, etag, size, what).map(Answer::File);
        }
        Err(self.answer(what, "more than 5 redirects".to_owned()))
    }

    /// A question about an address, which need not wait as long as a download.
    fn ask(&self, url: &str) -> Request {
        let patience = Some(self.patience.min(PATIENCE));
        let config = self.agent.head(url).config();
        config.timeout_resolve(patience).timeout_connect(patience).timeout_recv_response(patience).build()
    }

    fn announced(
        &self,
        commit: Option<String>,
        etag: Option<String>,
        size: Option<String>,
        what: &str,
    ) -> Result<Remote, HubError> {
        let etag = etag.map(|e| e.trim_start_matches("W/").trim_matches('"').to_owned()).filter(|e| is_safe(e));
        let missing = |name: &str| self.answer(what, format!("no usable {name}"));
        Ok(Remote {
            commit: commit.ok_or_else(|| missing("x-repo-commit"))?,
            etag: etag.ok_or_else(|| missing("etag"))?,
            size: size.and_then(|s| s.parse().ok()).ok_or_else(|| missing("content-length"))?,
        })
    }

    /// Sends a request; the token goes along to the hub alone.
    pub(super) fn request(&self, request: Request, url: &str, what: &str) -> Result<Body, HubError> {
        let mut request = request.header("accept-encoding", "identity");
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_own(url)) {
            request = request.header("authorization", authorization);
        }
        let response = request.call().map_err(|e| self.network(what, url, e.to_string()))?;
        match response.status().as_u16() {
            408 | 429 | 500.. => Err(self.busy(&response, url, what)),
            _ => Ok(response),
        }
    }

    /// The address that a redirect names, absolute.
    pub(super) fn redirect(&self, response: &Body, url: &str, what: &str) -> Result<String, HubError> {
        let location =
            header(response, "location").ok_or_else(|| self.answer(what, "a redirect to nowhere".to_owned()))?;
        if location.starts_with("http://") || location.starts_with("https://") {
            return Ok(location);
        }
        match (location.starts_with('/') && !location.starts_with("//"), origin(url)) {
            (true, Some(origin)) => Ok(format!("{origin}{location}")),
            _ => Err(self.answer(what, format!("a redirect to {location:?}"))),
        }
    }

    /// Whether an address belongs to the hub itself, and may see the token.
    fn is_own(&self, url: &str) -> bool {
        origin(url).is_some_and(|o| origin(&self.endpoint).is_some_and(|own| own.eq_ignore_ascii_case(o)))
    }

    /// The address of a file. A revision is one segment of it, whatever slashes its name has.
    pub(super) fn url(&self, revision: &str, file: &str) -> String {
        format!("{}/{}/resolve/{}/{}", self.endpoint, self.repo, escape_segment(revision), escape_path(file))
    }

    pub(super) fn network(&self, what: &str, url: &str, problem: String) -> HubError {
        HubError::Network { what: what.to_owned(), host: host(url), problem }
    }

    pub(super) fn answer(&self, what: &str, problem: String) -> HubError {
        HubError::Answer { what: what.to_owned(), host: self.endpoint.clone(), problem }
    }
}

/// How many more tries there are.
pub(super) struct Tries {
    left: u32,
    pause: Duration,
}

impl Tries {
    pub(super) fn new(left: u32, pause: Duration) -> Self {
        Self { left, pause }
    }

    /// Waits before another try, or gives up with `error`.
    pub(super) fn again(&mut self, error: HubError, what: &str, progress: &dyn Progress) -> Result<(), HubError> {
        if self.left == 0 {
            return Err(error);
        }
        self.left -= 1;
        if !stop::sleep(self.pause, &mut || progress.is_stopped()) {
            return Err(HubError::Stopped { what: what.to_owned() });
        }
        self.pause *= 2;
        Ok(())
    }
}

pub(super) fn header(response: &Body, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// An address without its path, for messages.
pub(super) fn host(url: &str) -> String {
    origin(url).unwrap_or(url).to_owned()
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |n| start + n);
    Some(&url[..end])
}
