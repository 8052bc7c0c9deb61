//! `moshi-backend standalone`: serves a model, a page and `/api/chat` until it is told to stop.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::say;
use crate::Server;
use crate::cli::values;
use crate::config::{DEVICES, DTYPES, LogFormat, MaxSessions, ModelSource, ModelSpec, Proxy, ServerConfig, TlsChoice};
use crate::model::ModelHost;
use crate::shutdown::{Signal, StopSignals};

/// Serve a model: a web page to talk on, and /api/chat for other clients.
///
/// Without options it serves the built-in model on http://localhost:8998. A configuration file sets the defaults of
/// all other options; options and their environment variables win over it.
#[derive(Debug, Default, Args)]
pub struct StandaloneArgs {
    /// Server configuration (JSON); files of the published Rust server are understood.
    #[arg(long, env = "MOSHI_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Model to serve: a folder, a file, a repository id such as kyutai/moshika-pytorch-bf16 (or owner/name@revision with
    /// a branch, tag or commit), "built-in", or "loopback" (no model: callers hear themselves).
    #[arg(short, long, env = "MOSHI_MODEL", value_name = "PATH_OR_REPO")]
    pub model: Option<String>,
    /// Where the model runs [default: auto, the fastest that this machine and build have].
    #[arg(long, env = "MOSHI_DEVICE", value_parser = DEVICES)]
    pub device: Option<String>,
    /// Weights in memory [default: as the file holds them].
    #[arg(long, env = "MOSHI_DTYPE", value_parser = DTYPES)]
    pub dtype: Option<String>,
    /// Make integers of the weights while loading: q8 or q4 [default: as the file holds them].
    #[arg(long, env = "MOSHI_QUANTIZE", value_name = "q8|q4")]
    pub quantize: Option<moshi_checkpoint::quantize::Quantize>,
    /// Round nothing for speed: activations, keys and values in single precision. Slower; for comparisons.
    #[arg(long, env = "MOSHI_EXACT")]
    pub exact: bool,
    /// Threads per step [default: one for each core, or one where steps are small].
    #[arg(long, env = "MOSHI_THREADS", value_name = "N", value_parser = values::threads)]
    pub threads: Option<NonZeroUsize>,
    /// Name or address to listen on [default: localhost]. 0.0.0.0 is every address of this machine, :: those of IPv6 too.
    #[arg(long, env = "MOSHI_HOST", value_parser = values::listen_host)]
    pub host: Option<String>,
    /// Port to listen on [default: 8998]; 0 takes a free one.
    #[arg(long, env = "MOSHI_PORT", value_parser = values::port)]
    pub port: Option<u16>,
    /// Most calls at once; auto measures how many this machine can hold [default: auto].
    #[arg(long, env = "MOSHI_MAX_SESSIONS", value_name = "N|auto")]
    pub max_sessions: Option<MaxSessions>,
    /// Callers that may wait when every place is taken [default: 0: they are refused at once].
    #[arg(long, env = "MOSHI_QUEUE", value_name = "N", value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub queue: Option<u16>,
    /// File with the keys that callers need, one on each line; read again when it changes and on SIGHUP. The environment
    /// variable MOSHI_API_KEYS gives keys directly, separated by commas.
    #[arg(long, env = "MOSHI_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Folder of the voices that callers choose from by name, where the model plays roles [default: voices, beside the
    /// model's files].
    #[arg(long, env = "MOSHI_VOICES", value_name = "DIR")]
    pub voices: Option<PathBuf>,
    /// The voice of callers who choose none, where the model plays roles: one of that folder, by name.
    #[arg(long, env = "MOSHI_VOICE", value_name = "NAME")]
    pub voice: Option<String>,
    /// The role of callers who choose none, where the model plays roles, in words: "You are a wise and friendly teacher."
    #[arg(long, env = "MOSHI_ROLE", value_name = "TEXT")]
    pub role: Option<String>,
    /// Record every call into this folder: both voices as a stereo wav file, the words as JSON lines. Tell your callers.
    #[arg(long, env = "MOSHI_RECORD_DIR", value_name = "DIR")]
    pub record_dir: Option<PathBuf>,
    /// Speak TLS on every address; by default it is plain http on localhost and TLS elsewhere.
    #[arg(long, env = "MOSHI_TLS", conflicts_with = "no_tls")]
    pub tls: bool,
    /// Speak plain http on every address. Browsers give no microphone to such a page except on localhost.
    #[arg(long, env = "MOSHI_NO_TLS")]
    pub no_tls: bool,
    /// Certificate chain (PEM); without it, one is made on first use and kept.
    #[arg(long, env = "MOSHI_CERT", value_name = "FILE", requires = "key", conflicts_with = "no_tls")]
    pub cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, env = "MOSHI_KEY", value_name = "FILE", requires = "cert", conflicts_with = "no_tls")]
    pub key: Option<PathBuf>,
    /// Folder of the certificate that is made on first use [default: ~/.config/rustymoshi/tls].
    #[arg(long, env = "MOSHI_CERT_DIR", value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Seconds for which browsers shall insist on TLS once they have seen it here; 0 does not ask them to [default:
    /// 15552000, 180 days]. Never said on localhost.
    #[arg(long, env = "MOSHI_HSTS", value_name = "SECONDS")]
    pub hsts: Option<u32>,
    /// Serve this folder instead of the page in the binary.
    #[arg(long = "static", env = "MOSHI_STATIC", value_name = "DIR")]
    pub static_dir: Option<PathBuf>,
    /// Web origin that may call besides the server's own page, such as https://example.org; * is every one.
    #[arg(long = "allow-origin", env = "MOSHI_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',',
        value_parser = values::origin)]
    pub allow_origin: Vec<String>,
    /// Name that this server goes by, such as talk.example.org; *.example.org is every name below, * any. Its page may
    /// call from addresses, localhost, this machine's name, and the names of its certificate and of --allow-origin.
    #[arg(long = "allow-host", env = "MOSHI_ALLOW_HOST", value_name = "NAME", value_delimiter = ',',
        value_parser = values::host_name)]
    pub allow_host: Vec<String>,
    /// Calls, open or waiting, that one address may have [default: 0, no limit].
    #[arg(long, env = "MOSHI_MAX_SESSIONS_PER_ADDRESS", value_name = "N")]
    pub max_sessions_per_address: Option<u32>,
    /// Calls, open or waiting, that one key may have [default: 0, no limit].
    #[arg(long, env = "MOSHI_MAX_SESSIONS_PER_KEY", value_name = "N")]
    pub max_sessions_per_key: Option<u32>,
    /// Connections that may be open at once [default: 0, the places and the waiting line and a thousand more].
    #[arg(long, env = "MOSHI_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<u32>,
    /// Address or network of a proxy in front, such as 10.0.0.0/8, that is believed what it forwards: who calls
    /// (X-Forwarded-For), and the address that was asked for (Forwarded, X-Forwarded-Host, -Proto and -Port).
    #[arg(long = "trust-proxy", env = "MOSHI_TRUST_PROXY", value_name = "ADDRESS", value_delimiter = ',',
        value_parser = values::proxy)]
    pub trust_proxy: Vec<Proxy>,
    /// Seconds that open calls may go on after a shutdown was asked for [default: 0].
    #[arg(long, env = "MOSHI_DRAIN", value_name = "SECONDS")]
    pub drain: Option<u32>,
    /// How log lines are written to standard error. MOSHI_LOG sets what is logged, for example MOSHI_LOG=debug.
    #[arg(long, env = "MOSHI_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

impl StandaloneArgs {
    /// The configuration file, if any, with these options on top.
    ///
    /// # Errors
    /// When the file or an option cannot be used.
    pub fn to_config(&self) -> anyhow::Result<ServerConfig> {
        let mut config = match &self.config {
            Some(file) => ServerConfig::load(file)?,
            None => ServerConfig::default(),
        };
        if let Some(model) = &self.model {
            // The file's own names belong to the model that the file names.
            config.model = ModelSpec {
                source: ModelSource::parse(model).map_err(anyhow::Error::msg).context("--model")?,
                device: config.model.device.take(),
                dtype: config.model.dtype.take(),
                quantize: config.model.quantize,
                exact: config.model.exact,
                voices: config.model.voices.take(),
                threads: config.model.threads,
                ..Default::default()
            };
        }
        self.apply_numbers(&mut config.model);
        self.apply_address(&mut config)?;
        config.max_sessions = self.max_sessions.unwrap_or(config.max_sessions);
        config.queue.room = self.queue.map_or(config.queue.room, usize::from);
        config.api_keys.file = self.api_key_file.clone().or(config.api_keys.file);
        config.record_dir = self.record_dir.clone().or(config.record_dir);
        config.part.role = self.role.clone().or(config.part.role.take());
        config.part.voice = self.voice.clone().or(config.part.voice.take());
        if let Some(folder) = &self.static_dir {
            config.static_dir = Some(folder.clone());
        }
        config.allowed_origins.extend(self.allow_origin.iter().cloned());
        self.apply_quotas(&mut config);
        config.allowed_hosts.extend(self.allow_host.iter().cloned());
        config.trusted_proxies.extend(&self.trust_proxy);
        if let Some(seconds) = self.drain {
            config.drain = Duration::from_secs(u64::from(seconds));
        }
        config.log_format = self.log_format.unwrap_or(config.log_format);
        Ok(config)
    }

    fn apply_quotas(&self, config: &mut ServerConfig) {
        let quotas = &mut config.quotas;
        for (option, value) in [
            (self.max_sessions_per_address, &mut quotas.per_address),
            (self.max_sessions_per_key, &mut quotas.per_key),
            (self.max_connections, &mut quotas.connections),
        ] {
            *value = option.map_or(*value, |n| usize::try_from(n).unwrap_or(usize::MAX));
        }
    }

    fn apply_numbers(&self, model: &mut ModelSpec) {
        model.device = self.device.clone().or(model.device.take());
        model.dtype = self.dtype.clone().or(model.dtype.take());
        model.quantize = self.quantize.or(model.quantize);
        model.exact |= self.exact;
        model.voices = self.voices.clone().or(model.voices.take());
        model.threads = self.threads.or(model.threads);
    }

    fn apply_address(&self, config: &mut ServerConfig) -> anyhow::Result<()> {
        if let Some(host) = &self.host {
            config.host.clone_from(host);
        }
        config.port = self.port.unwrap_or(config.port);
        match (self.tls, self.no_tls) {
            (true, _) => config.tls = TlsChoice::On,
            (_, true) => (config.tls, config.certificate) = (TlsChoice::Off, None),
            _ => {}
        }
        if let Some(folder) = &self.cert_dir {
            config.cert_dir = Some(folder.clone());
        }
        if let Some(seconds) = self.hsts {
            config.hsts = Duration::from_secs(u64::from(seconds));
        }
        if self.cert.is_some() {
            config.tls = TlsChoice::On;
            config.set_certificate(Path::new("command line"), (self.cert.clone(), self.key.clone()))?;
        }
        Ok(())
    }
}

/// Runs the command. `notes` are warnings from before there was a log.
///
/// # Errors
/// When the configuration, the model, the certificate or the address cannot be used.
pub fn run(args: &StandaloneArgs, notes: Vec<String>) -> anyhow::Result<()> {
    let mut config = args.to_config()?;
    config.api_keys.given.extend(keys_in_environment()?);
    let unclear = start_logging(config.log_format);
    for warning in notes.iter().chain(&unclear).chain(&config.warnings) {
        tracing::warn!("{warning}");
    }
    let model = ModelHost::load(&config.model)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(serve(config, model));
    // Nothing that hangs may keep the program from its end.
    runtime.shutdown_background();
    result
}

/// Keys are taken from the environment alone, not from an option: everybody on the machine can see options.
///
/// # Errors
/// When the variable is set and holds no key: a server that should have had one must not be open to everybody.
fn keys_in_environment() -> anyhow::Result<Vec<String>> {
    let Some(text) = std::env::var_os("MOSHI_API_KEYS").filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    let text = text.to_str().context("MOSHI_API_KEYS: not UTF-8; expected keys, separated by commas")?;
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    anyhow::ensure!(!keys.is_empty(), "MOSHI_API_KEYS: found no key; expected keys, separated by commas");
    Ok(keys)
}

async fn serve(config: ServerConfig, model: ModelHost) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    let server = Server::start(config, model).await?;
    announce(&server)?;
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => server.reload(),
            },
            () = server.stuck() => {
                server.abandon().await;
                return Err(Stuck.into());
            }
        }
    }
    // Whoever read what we say may be gone; that is no reason to leave callers and recordings without an end.
    let _ = say("stopping; once more stops at once");
    tokio::select! {
        () = server.shutdown() => Ok(()),
        () = signals.stop() => anyhow::bail!("stopped before every call was closed"),
    }
}

/// The engine made no progress, and the program ends so that it can be started again.
#[derive(Debug, thiserror::Error)]
#[error("the engine made no progress; start the server again")]
pub struct Stuck;

impl Stuck {
    /// The exit code that tells a supervisor so: EX_SOFTWARE of sysexits.h.
    pub const EXIT_CODE: u8 = 70;
}

fn announce(server: &Server) -> std::io::Result<()> {
    let (model, notice) = server.model();
    say(&format!("model: {model}"))?;
    if let Some(notice) = notice {
        say(&format!("note: {notice}"))?;
    }
    if let Some(files) = server.certificate() {
        say(&format!("certificate: {}", files.cert.display()))?;
    }
    if let Some(url) = server.network_url() {
        say(&format!("from other machines: {url}"))?;
    }
    say(&format!("open {}", server.url()))?;
    tracing::info!(address = %server.address(), model, capacity = server.capacity(), "ready");
    Ok(())
}

/// Begins to write the log, and gives what is worth telling in it about what was asked for.
fn start_logging(format: LogFormat) -> Option<String> {
    let asked = std::env::var("MOSHI_LOG").unwrap_or_default();
    let (filter, unclear) = match EnvFilter::builder().parse(&asked) {
        Ok(filter) if !asked.trim().is_empty() => (filter, None),
        Ok(_) => (EnvFilter::new("info"), None),
        Err(error) => {
            let text =
                format!("MOSHI_LOG is {asked:?}: {error}; expected for example debug, or info,moshi_backend=trace");
            (EnvFilter::new("info"), Some(text))
        }
    };
    // Colours are for people at a terminal, by the same rules as those of the help.
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // An error means that the program around us logs already.
    let _ = match format {
        LogFormat::Text => builder.finish().with(filter_fn(discreet)).try_init(),
        LogFormat::Json => builder.json().with_ansi(false).finish().with(filter_fn(discreet)).try_init(),
    };
    unclear
}

/// Below `info`, libraries log the headers and messages that they handle, and in those are keys, voices and words: they
/// are not heard there, whatever MOSHI_LOG says. Our own lines hold nothing of the kind.
fn discreet(line: &tracing::Metadata<'_>) -> bool {
    let ours = line.target().starts_with("moshi") || line.target().starts_with("mimi");
    ours || *line.level() <= tracing::Level::INFO
}
