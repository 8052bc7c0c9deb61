//! The server's configuration: a JSON file with the keys of the published Rust server and ours, then the command line.
//!
//! A published server's file is accepted as it is; what has no meaning here is named in [`ServerConfig::warnings`].
//!
//! ```
//! use moshi_backend::config::ServerConfig;
//! let config = ServerConfig::from_json("example.json".as_ref(), r#"{"port": 8998, "max_sessions": 2}"#)?;
//! assert_eq!((config.port, config.max_sessions), (8998, 2.into()));
//! # Ok::<(), moshi_backend::config::ConfigError>(())
//! ```

mod capacity;
mod error;
mod limits;
mod model_spec;
mod part;
mod quotas;
mod reader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moshi_engine::EngineConfig;

use crate::auth::KeySource;
pub use crate::forwarded::Proxy;
use crate::{listen, origin};
pub use capacity::MaxSessions;
pub use error::ConfigError;
pub use limits::{CallLimits, QueueConfig};
pub(crate) use model_spec::{DEVICES, DTYPES, MOST_THREADS};
pub use model_spec::{ModelSource, ModelSpec};
pub use part::Part;
pub use quotas::QuotaConfig;
use reader::{Reader, to_usize};

/// Ten years.
const LONGEST_HSTS: u64 = 3_650 * 86_400;
/// A shorter watchdog would take an idle engine for one that is stuck.
const SHORTEST_WATCHDOG: Duration = Duration::from_secs(2);

/// Whether to speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsChoice {
    /// Plain http on this machine's loopback addresses, TLS on all others: microphones need https or localhost.
    #[default]
    Auto,
    /// Always TLS.
    On,
    /// Never TLS: something in front of the server does it.
    Off,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that `moshi-backend standalone` can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// The name that metadata and metrics show.
    pub instance_name: String,
    /// Which model to serve.
    pub model: ModelSpec,
    /// Name or address to listen on.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: TlsChoice,
    /// Folder of `cert.pem` and `key.pem`, made on first use; none is the user's configuration folder.
    pub cert_dir: Option<PathBuf>,
    /// A certificate chain of one's own and its key, both PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How long browsers shall insist on TLS once they have seen it; zero does not ask them to.
    pub hsts: Duration,
    /// Serves this folder instead of the page in the binary.
    pub static_dir: Option<PathBuf>,
    /// Most calls at once, each a row of the batch.
    pub max_sessions: MaxSessions,
    /// Longest step that a calibration accepts.
    pub tick_budget: Duration,
    /// The waiting line.
    pub queue: QueueConfig,
    /// The keys that callers need; without any, everybody may call.
    pub api_keys: KeySource,
    /// Records every call into this folder.
    pub record_dir: Option<PathBuf>,
    /// Who the model is to callers who do not choose, where it plays roles.
    pub part: Part,
    /// An engine that makes no progress for this long is given up; zero is never.
    pub watchdog: Duration,
    /// The lag policy.
    pub engine: EngineConfig,
    /// Limits of every call.
    pub calls: CallLimits,
    /// Web origins that may call besides the server's own pages; `*` is every origin.
    pub allowed_origins: Vec<String>,
    /// How much one caller may take.
    pub quotas: QuotaConfig,
    /// Names that this server goes by, besides those that it knows itself; `*.` stands for any beginning, `*` for any.
    pub allowed_hosts: Vec<String>,
    /// Proxies that are believed what they say about who calls, and about the address that was asked for.
    pub trusted_proxies: Vec<Proxy>,
    /// How long calls may go on after a shutdown was asked for.
    pub drain: Duration,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Keys of the file that were understood but have no effect here, and why.
    pub warnings: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            instance_name: "rustymoshi".to_owned(),
            model: ModelSpec::default(),
            host: "localhost".to_owned(),
            port: 8998,
            tls: TlsChoice::Auto,
            cert_dir: None,
            certificate: None,
            hsts: Duration::from_secs(180 * 86_400),
            static_dir: None,
            max_sessions: MaxSessions::Auto,
            tick_budget: Duration::from_millis(56),
            queue: QueueConfig::default(),
            api_keys: KeySource::default(),
            record_dir: None,
            part: Part::default(),
            watchdog: Duration::from_secs(60),
            engine: EngineConfig::default(),
            calls: CallLimits::default(),
            allowed_origins: Vec::new(),
            quotas: QuotaConfig::default(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            drain: Duration::ZERO,
            log_format: LogFormat::Text,
            warnings: Vec::new(),
        }
    }
}

impl ServerConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] names file, key, what was found and what was expected.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::read(Reader::open(file)?)
    }

    /// As [`ServerConfig::load`], from text in memory; `file` is the name that errors show.
    ///
    /// # Errors
    /// As [`ServerConfig::load`].
    pub fn from_json(file: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::read(Reader::parse(file, text)?)
    }

    /// Every key that a file may have.
    pub fn keys() -> BTreeSet<&'static str> {
        Reader::parse(Path::new(""), "{}")
            .and_then(|mut r| Self::default().take(&mut r).map(|()| r.known().clone()))
            .unwrap_or_default()
    }

    fn read(mut r: Reader) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.take(&mut r)?;
        r.finish()?;
        Ok(config)
    }

    fn take(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        if let Some(name) = r.text("instance_name")? {
            self.instance_name = name;
        }
        self.model = ModelSpec::read(r)?;
        self.read_address(r)?;
        self.read_certificate(r)?;
        self.static_dir = r.path("static_dir")?;
        self.read_sessions(r)?;
        self.read_backlog(r)?;
        self.read_queue(r)?;
        self.api_keys.file = r.path("api_key_file")?;
        self.record_dir = r.path("record_dir")?;
        self.part = Part::read(r)?;
        self.read_limits(r)?;
        self.quotas = QuotaConfig::read(r)?;
        self.read_visitors(r)?;
        self.log_format = match r.text("log_format")?.as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => return Err(r.wrong("log_format", &other.into(), "\"text\" or \"json\"")),
        };
        self.read_without_effect(r);
        Ok(())
    }

    fn read_address(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        let (addr, host) = (r.text("addr")?, r.text("host")?);
        if let (Some(addr), Some(host)) = (&addr, &host)
            && addr != host
        {
            let why = format!("{addr} and {host} are two names for the address to listen on; keep one");
            return Err(ConfigError::contradiction(r.file(), "addr", "host", why));
        }
        let key = if host.is_some() { "host" } else { "addr" };
        if let Some(host) = host.or(addr) {
            self.host = listen::bare(&host).map_err(|expected| r.wrong(key, &host.into(), &expected))?;
        }
        if let Some(port) = r.whole("port", 0, u64::from(u16::MAX))? {
            self.port = u16::try_from(port).unwrap_or_default();
        }
        Ok(())
    }

    fn read_visitors(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        let whole = |text: &str, check: fn(&str) -> Result<(), String>| check(text).map(|()| text.to_owned());
        self.allowed_origins = r.each("allowed_origins", |text| whole(text, origin::check_origin))?;
        self.allowed_hosts = r.each("allowed_hosts", |text| whole(text, origin::check_host))?;
        self.trusted_proxies = r.each("trusted_proxies", str::parse)?;
        Ok(())
    }

    fn read_certificate(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        self.tls = match r.flag("tls")? {
            None => TlsChoice::Auto,
            Some(true) => TlsChoice::On,
            Some(false) => TlsChoice::Off,
        };
        self.cert_dir = r.path("cert_dir")?;
        if let Some(seconds) = r.whole("hsts_s", 0, LONGEST_HSTS)? {
            self.hsts = Duration::from_secs(seconds);
        }
        let pair = (r.path("cert_file")?, r.path("key_file")?);
        self.set_certificate(r.file(), pair)
    }

    /// Takes a certificate and its key, which make sense only together and only with TLS.
    pub(crate) fn set_certificate(
        &mut self,
        file: &Path,
        pair: (Option<PathBuf>, Option<PathBuf>),
    ) -> Result<(), ConfigError> {
        match pair {
            (None, None) => Ok(()),
            (Some(_), Some(_)) if self.tls == TlsChoice::Off => {
                let why = "a certificate was given and TLS was switched off; drop one of the two".to_owned();
                Err(ConfigError::contradiction(file, "cert_file", "tls", why))
            }
            (Some(cert), Some(key)) => {
                self.certificate = Some((cert, key));
                self.tls = TlsChoice::On;
                Ok(())
            }
            _ => {
                let why = "a certificate and its key belong together; give both or neither".to_owned();
                Err(ConfigError::contradiction(file, "cert_file", "key_file", why))
            }
        }
    }

    fn read_sessions(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        let ours = match r.any("max_sessions") {
            None => None,
            Some(found) => {
                let read = match &found {
                    serde_json::Value::String(text) => text.parse().ok(),
                    other => other.as_u64().and_then(|n| n.to_string().parse().ok()),
                };
                let expected = "\"auto\" or a whole number from 1 to 4096";
                Some(read.ok_or_else(|| r.wrong("max_sessions", &found, expected))?)
            }
        };
        // The published server's word for it.
        let theirs = r.whole("batch_size", 1, capacity::MOST)?.map(|n| MaxSessions::from(to_usize(n)));
        if let (Some(a), Some(b)) = (ours, theirs)
            && a != b
        {
            let why = format!("{a} and {b} are both the number of calls at once; keep one");
            return Err(ConfigError::contradiction(r.file(), "max_sessions", "batch_size", why));
        }
        self.max_sessions = ours.or(theirs).unwrap_or(self.max_sessions);
        if let Some(ms) = r.whole("tick_budget_ms", 1, 80)? {
            self.tick_budget = Duration::from_millis(ms);
        }
        Ok(())
    }

    fn read_queue(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        self.queue.room = r.whole("queue", 0, 10_000)?.map_or(self.queue.room, to_usize);
        if let Some(seconds) = r.seconds("queue_timeout_s", 86_400.0)? {
            self.queue.longest = Duration::from_secs_f64(seconds);
        }
        Ok(())
    }

    fn read_backlog(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        let limit = r.whole("backlog_limit_frames", 1, 1000)?.map(to_usize);
        let target = r.whole("backlog_target_frames", 1, 1000)?.map(to_usize);
        self.engine.backlog_limit = limit.unwrap_or(self.engine.backlog_limit);
        self.engine.backlog_target = target.unwrap_or(self.engine.backlog_target.min(self.engine.backlog_limit));
        if self.engine.backlog_target > self.engine.backlog_limit {
            let why = format!(
                "{} frames are to be kept of at most {}; the target must not be above the limit",
                self.engine.backlog_target, self.engine.backlog_limit
            );
            return Err(ConfigError::contradiction(r.file(), "backlog_target_frames", "backlog_limit_frames", why));
        }
        Ok(())
    }

    fn read_limits(&mut self, r: &mut Reader) -> Result<(), ConfigError> {
        const DAY: f64 = 86_400.0;
        let duration = |found: Option<f64>, otherwise: Duration| found.map_or(otherwise, Duration::from_secs_f64);
        let calls = &mut self.calls;
        calls.idle_timeout = duration(r.seconds("idle_timeout_s", DAY)?, calls.idle_timeout);
        calls.max_duration = duration(r.seconds("max_session_s", 30.0 * DAY)?, calls.max_duration);
        calls.ping_interval = duration(r.seconds("ping_interval_s", 3600.0)?, calls.ping_interval);
        calls.pong_timeout = duration(r.seconds("pong_timeout_s", DAY)?, calls.pong_timeout);
        if calls.ping_interval.is_zero() {
            return Err(r.wrong("ping_interval_s", &0.into(), "more than 0 seconds"));
        }
        if calls.pong_timeout <= calls.ping_interval {
            let why = "a caller needs at least one ping to answer; the timeout must be longer than the interval";
            return Err(ConfigError::contradiction(r.file(), "pong_timeout_s", "ping_interval_s", why.to_owned()));
        }
        if let Some(bytes) = r.whole("max_message_bytes", 8_192, 16 << 20)? {
            calls.max_message_bytes = to_usize(bytes);
        }
        self.drain = duration(r.seconds("drain_s", DAY)?, self.drain);
        self.watchdog = duration(r.seconds("watchdog_s", DAY)?, self.watchdog);
        if !self.watchdog.is_zero() && self.watchdog < SHORTEST_WATCHDOG {
            // An idle engine shows a sign of life once a second.
            let found = self.watchdog.as_secs_f64().into();
            return Err(r.wrong("watchdog_s", &found, "0 (never) or at least 2 seconds"));
        }
        Ok(())
    }

    /// Keys of the published server that are harmless here.
    fn read_without_effect(&mut self, r: &mut Reader) {
        const KEYS: [(&str, &str); 9] = [
            ("log_dir", "log lines go to standard error; record_dir records calls"),
            ("log_level", "set the environment variable MOSHI_LOG instead, for example MOSHI_LOG=debug"),
            ("lm_config", "the model's sizes are read from its config.json or its tensors"),
            ("mimi_num_codebooks", "the model says how many codebooks it needs"),
            ("encodec_num_codebooks", "the model says how many codebooks it needs"),
            ("use_cpu_for_mimi", "the codec runs where the model runs"),
            ("asr_delay_in_tokens", "delays are read from the model's config.json"),
            ("power_threshold", "it belongs to another program"),
            ("init_active_speaker", "it belongs to another program"),
        ];
        for (key, why) in KEYS {
            if r.any(key).is_some() {
                self.warnings.push(format!("{}: \"{key}\" has no effect: {why}", r.file().display()));
            }
        }
    }
}
