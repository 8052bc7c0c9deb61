//! The transfer: asking about files and downloading them, with redirects, resuming and new tries.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;

use ureq::Agent;
use ureq::http::{Response, Uri};

use super::cache::{disk, is_safe};
use super::{HubError, HubOptions, Progress};

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

/// A file to download.
pub(super) struct Job<'a> {
    pub(super) commit: &'a str,
    pub(super) file: &'a str,
    /// The file for messages.
    pub(super) what: &'a str,
    /// Where the bytes go.
    pub(super) part: &'a Path,
    /// How many there must be.
    pub(super) size: u64,
}

/// Speaks with one hub about one repository.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    repo: String,
    authorization: Option<String>,
    retries: u32,
    pause: std::time::Duration,
}

type Body = Response<ureq::Body>;

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
        })
    }

    /// Asks about a file of a revision.
    pub(super) fn describe(&self, revision: &str, file: &str, what: &str) -> Result<Answer, HubError> {
        // One more try at most: a model in the cache should start soon when there is no network.
        let mut tries = Tries::new(self.retries.min(1), self.pause);
        loop {
            match self.describe_once(revision, file, what) {
                Err(e @ HubError::Network { .. }) => tries.again(e)?,
                other => return other,
            }
        }
    }

    fn describe_once(&self, revision: &str, file: &str, what: &str) -> Result<Answer, HubError> {
        let mut url = self.url(revision, file);
        let (mut commit, mut etag, mut size) = (None, None, None);
        for _ in 0..5 {
            let response = self.request(self.agent.head(&url), &url, what)?;
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
            etag = etag.or_else(|| get("etag"));
            size = size.or_else(|| get("content-length").filter(|_| status.is_success()));
            return self.announced(commit, etag, size, what).map(Answer::File);
        }
        Err(self.answer(what, "more than 5 redirects".to_owned()))
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

    /// What a status outside 2xx and 3xx means.
    fn refusal(&self, response: &Body, commit: Option<String>, what: &str) -> Result<Answer, HubError> {
        let status = response.status().as_u16();
        let code = header(response, "x-error-code").unwrap_or_default();
        match status {
            404 if code == "EntryNotFound" && commit.is_none() => Err(HubError::NoFile { what: what.to_owned() }),
            404 if code == "RepoNotFound" || code == "RevisionNotFound" => Err(self.no_repository(what)),
            404 => commit.map(|commit| Answer::NoFile { commit }).ok_or_else(|| self.no_repository(what)),
            401 | 403 => Err(self.denied(response, &code, what)),
            _ => Err(self.answer(what, format!("status {status}"))),
        }
    }

    fn denied(&self, response: &Body, code: &str, what: &str) -> HubError {
        let message = header(response, "x-error-message").map(|m| m.chars().take(200).collect::<String>());
        let advice = match (code, &self.authorization) {
            ("GatedRepo", Some(_)) => "ask for access on the repository's page with the account of this HF_TOKEN",
            ("GatedRepo", None) => "accept its terms on the repository's page, then set HF_TOKEN",
            (_, Some(_)) => "check the name, and that HF_TOKEN is valid and may read this repository",
            (_, None) => "check the name, or set HF_TOKEN if it is private",
        };
        HubError::Denied {
            what: what.to_owned(),
            status: response.status().as_u16(),
            message: message.map(|m| format!(": {m}")).unwrap_or_default(),
            advice,
        }
    }

    fn no_repository(&self, what: &str) -> HubError {
        HubError::NoRepository { what: what.to_owned(), endpoint: self.endpoint.clone() }
    }

    /// Brings `job` to its end, going on where its part file ends. Tries again as long as a try brings anything new.
    pub(super) fn download(&self, job: &Job<'_>, progress: &mut dyn Progress) -> Result<(), HubError> {
        let length = || job.part.metadata().map_or(0, |m| m.len());
        let mut done = length();
        if done > job.size {
            std::fs::remove_file(job.part).map_err(disk(job.part, "remove"))?;
            done = 0;
        }
        progress.start(job.file, done, job.size);
        let (mut tries, mut best) = (Tries::new(self.retries, self.pause), done);
        while done < job.size || !job.part.exists() {
            match self.download_once(job, done, progress) {
                Err(e @ HubError::Network { .. }) => {
                    done = length();
                    if done > best {
                        (tries, best) = (Tries::new(self.retries, self.pause), done);
                    }
                    tries.again(e)?;
                }
                other => return other,
            }
        }
        Ok(())
    }

    /// One try from byte `start` on; `Ok` when the body has ended.
    fn download_once(&self, job: &Job<'_>, start: u64, progress: &mut dyn Progress) -> Result<(), HubError> {
        let (part, what) = (job.part, job.what);
        let (url, response) = self.get(self.url(job.commit, job.file), start, what)?;
        let resumed = match response.status().as_u16() {
            206 => true,
            200 => false,
            416 => {
                std::fs::remove_file(part).map_err(disk(part, "remove"))?;
                return Err(self.network(what, &url, "the hub would not resume".to_owned()));
            }
            _ => return self.refusal(&response, None, what).and(Err(self.answer(what, "no file".to_owned()))),
        };
        if resumed && header(&response, "content-range").is_some_and(|r| !r.starts_with(&format!("bytes {start}-"))) {
            return Err(self.answer(what, "another range than asked for".to_owned()));
        }
        let mut options = OpenOptions::new();
        options.create(true);
        let options = if resumed { options.append(true) } else { options.write(true).truncate(true) };
        let mut out = options.open(part).map_err(disk(part, "write"))?;
        let mut done = if resumed { start } else { 0 };
        let (mut body, mut buffer) = (response.into_body().into_reader(), vec![0; 1 << 18]);
        // A server that never stops is cut off just past the announced size, which `verify` then sees.
        while done <= job.size {
            let n = body.read(&mut buffer).map_err(|e| self.network(what, &url, e.to_string()))?;
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n]).map_err(disk(part, "write"))?;
            done += n as u64;
            progress.update(done.min(job.size));
        }
        if done < job.size {
            let problem = format!("the connection ended after {done} of {} bytes", job.size);
            return Err(self.network(what, &url, problem));
        }
        Ok(())
    }

    /// Follows redirects; the range is asked for at every station.
    fn get(&self, mut url: String, start: u64, what: &str) -> Result<(String, Body), HubError> {
        for _ in 0..10 {
            let request = self.agent.get(&url);
            let request = if start > 0 { request.header("range", format!("bytes={start}-")) } else { request };
            let response = self.request(request, &url, what)?;
            if !response.status().is_redirection() {
                return Ok((url, response));
            }
            url = self.redirect(&response, &url, what)?;
        }
        Err(self.answer(what, "more than 10 redirects".to_owned()))
    }

    fn request(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
        url: &str,
        what: &str,
    ) -> Result<Body, HubError> {
        let mut request = request.header("accept-encoding", "identity");
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_own(url)) {
            request = request.header("authorization", authorization);
        }
        let response = request.call().map_err(|e| self.network(what, url, e.to_string()))?;
        match response.status().as_u16() {
            status @ (408 | 429 | 500..) => Err(self.network(what, url, format!("it answers with status {status}"))),
            _ => Ok(response),
        }
    }

    /// The address that a redirect names, absolute.
    fn redirect(&self, response: &Body, url: &str, what: &str) -> Result<String, HubError> {
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

    fn url(&self, revision: &str, file: &str) -> String {
        format!("{}/{}/resolve/{revision}/{}", self.endpoint, self.repo, escape(file))
    }

    fn network(&self, what: &str, url: &str, problem: String) -> HubError {
        let host = origin(url).unwrap_or(url).to_owned();
        HubError::Network { what: what.to_owned(), host, problem }
    }

    fn answer(&self, what: &str, problem: String) -> HubError {
        HubError::Answer { what: what.to_owned(), host: self.endpoint.clone(), problem }
    }
}

/// How many more tries there are.
struct Tries {
    left: u32,
    pause: std::time::Duration,
}

impl Tries {
    fn new(left: u32, pause: std::time::Duration) -> Self {
        Self { left, pause }
    }

    /// Waits before another try, or gives up with `error`.
    fn again(&mut self, error: HubError) -> Result<(), HubError> {
        if self.left == 0 {
            return Err(error);
        }
        self.left -= 1;
        std::thread::sleep(self.pause);
        self.pause *= 2;
        Ok(())
    }
}

fn header(response: &Body, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |n| start + n);
    Some(&url[..end])
}

/// A path of the repository as part of an address.
fn escape(file: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    file.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
