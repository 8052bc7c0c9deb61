//! A running server: engine thread, listener, routes, and an orderly end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{any, get, post};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use moshi_engine::{EngineConfig, EngineError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::App;
use crate::auth::{KeyError, Keys};
use crate::calibrate::{Calibration, calibrate};
use crate::call::{Admission, Cast, Quotas, WaitingLine};
use crate::config::{MaxSessions, ServerConfig, TlsChoice};
use crate::connections::BoundedAcceptor;
use crate::engine_thread::{EngineHandle, EngineThread};
use crate::metrics::Metrics;
use crate::model::ModelHost;
use crate::origin::Welcome;
use crate::reload::Reloader;
use crate::shutdown::ShutdownControl;
use crate::tls::{CertificateFiles, Shown, TlsError};
use crate::{chat, forwarded, health, hsts, listen, openapi, pages, realtime, tls, transcriptions, watchdog};

/// A connection that has not sent a whole request after this long is closed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls have to take notice of their close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Connections beyond those of callers: of pages, health checks, and callers who are refused.
const SPARE_CONNECTIONS: usize = 1_000;
/// How often recorded times are moved into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {host} port {port}: {source}{advice}", advice = listen::advice(source, *port))]
    Listen {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The address is none.
    #[error("host: found {host:?}, expected {expected}")]
    Host {
        /// What was given.
        host: String,
        /// What it should be.
        expected: String,
    },
    /// The page's folder is not there.
    #[error("static_dir: {folder} is not a folder; leave it out for the page in the binary", folder = folder.display())]
    StaticDir {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder for recordings cannot be used.
    #[error("record_dir: cannot write into {folder}: {source}", folder = folder.display())]
    RecordDir {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The model cannot be made.
    #[error(transparent)]
    Model(#[from] EngineError),
    /// The counters cannot be made.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// A server that is running.
///
/// ```no_run
/// use moshi_backend::{Server, config::ServerConfig, model::ModelHost};
/// # async fn run() -> Result<(), moshi_backend::ServerError> {
/// let server = Server::start(ServerConfig::default(), ModelHost::loopback()).await?;
/// println!("{}", server.url());
/// server.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    certificate: Option<CertificateFiles>,
    handle: Handle<SocketAddr>,
    listener: JoinHandle<io::Result<()>>,
    /// Tasks that last as long as the server.
    helpers: Vec<JoinHandle<()>>,
    engine: EngineThread,
    control: ShutdownControl,
    reload: Arc<Notify>,
    stuck: watch::Receiver<bool>,
}

impl Server {
    /// Makes the model's memory, listens, and serves in the background.
    ///
    /// # Errors
    /// [`ServerError`] says what is missing.
    pub async fn start(mut config: ServerConfig, model: ModelHost) -> Result<Self, ServerError> {
        let (socket, address) = open(&mut config)?;
        let (tls, names) = match certificate(&config, address)? {
            Some(files) => Shown::load(files).await.map(|(shown, names)| (Some(shown), Some(names)))?,
            None => (None, None),
        };
        let keys = Keys::load(config.api_keys.clone())?;
        let control = ShutdownControl::new();
        let metrics = Arc::new(Metrics::new(&config.instance_name, env!("CARGO_PKG_VERSION"))?);
        let (model_name, notice) = (model.name.clone(), model.notice.clone());
        let (defaults, memory) = (model.defaults, model.memory);
        let mut model = model;
        let recognition = model.recognition.take();
        let cast = Cast::new(model.roles.clone(), &config.part)?;
        let (model, calibration) = find_capacity(&config, model).await?;
        let rows = match (config.max_sessions, &calibration) {
            (MaxSessions::Fixed(rows), _) => rows,
            (MaxSessions::Auto, found) => found.as_ref().map_or(1, |found| found.rows),
        };
        let (engine, mut handle_to_engine) = start_engine(model, rows, config.engine, Arc::clone(&metrics)).await?;
        if calibration.is_some() {
            handle_to_engine.refuse_when_overloaded();
        }
        let line = WaitingLine::new(config.queue.room, Arc::clone(&metrics));
        let admission = {
            let (engine, line) = (handle_to_engine.clone(), Arc::clone(&line));
            Admission::new(engine, line, control.shutdown(), Arc::clone(&metrics))
        };
        let app = Arc::new(App {
            engine: handle_to_engine,
            admission,
            welcome: Welcome::new(&config.allowed_origins, &config.allowed_hosts, &config.host, names),
            keys,
            line,
            quotas: Quotas::new(config.quotas.per_address, config.quotas.per_key),
            calibration,
            metrics,
            shutdown: control.shutdown(),
            model_name,
            notice,
            cast,
            memory,
            recognition,
            defaults,
            started: Instant::now(),
            config,
        });
        let handle = Handle::new();
        let acceptor = acceptor(&app);
        let routes = router(&app, tls.is_some());
        let listener = serve((socket, acceptor), routes, tls.as_ref().map(Shown::config), handle.clone())?;
        let certificate = tls.as_ref().map(|shown| shown.files().clone());
        let (reload, (stop, stuck)) = (Arc::new(Notify::new()), watch::channel(false));
        let reloader = Reloader { app: Arc::clone(&app), tls, now: Arc::clone(&reload) };
        let helpers = vec![
            tokio::spawn(upkeep(Arc::clone(&app.metrics))),
            tokio::spawn(reloader.run()),
            tokio::spawn(watchdog::watch(Arc::clone(&app), stop)),
        ];
        Ok(Self { app, address, certificate, handle, listener, helpers, engine, control, reload, stuck })
    }

    /// Most calls at once.
    pub fn capacity(&self) -> usize {
        self.app.engine.capacity()
    }

    /// Reads keys and certificate again, in the background.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Completes when the engine has made no progress for the configured time. Callers have been told; what is left to do
    /// is [`Server::abandon`], and to end the process.
    pub async fn stuck(&self) {
        // An error means that the watchdog is gone, and with it the server.
        let _ = self.stuck.clone().wait_for(|stuck| *stuck).await;
    }

    /// Ends a server whose engine is stuck: its calls are closed and its thread is left behind.
    pub async fn abandon(self) {
        self.control.finish(Duration::ZERO, CLOSE_TIME).await;
        self.handle.shutdown();
        for helper in self.helpers {
            helper.abort();
        }
        self.engine.abandon();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate it shows, if it speaks TLS.
    pub fn certificate(&self) -> Option<&CertificateFiles> {
        self.certificate.as_ref()
    }

    /// What to open in a browser on this machine.
    pub fn url(&self) -> String {
        let host = listen::shown(&self.app.config.host, self.address);
        format!("{}://{host}:{}", self.scheme(), self.address.port())
    }

    /// What to open on another machine of the same network, if the server can be reached from there.
    pub fn network_url(&self) -> Option<String> {
        let outward = self.address.ip().is_unspecified().then(tls::outward_address).flatten()?;
        Some(format!("{}://{}:{}", self.scheme(), listen::in_url(outward), self.address.port()))
    }

    /// The model's name, and what a caller must know about it.
    pub fn model(&self) -> (&str, Option<&str>) {
        (&self.app.model_name, self.app.notice.as_deref())
    }

    /// How it was configured.
    pub fn config(&self) -> &ServerConfig {
        &self.app.config
    }

    /// Refuses new calls, lets open ones go on as long as configured, closes them with a reason, and ends.
    pub async fn shutdown(self) {
        let drain = self.app.config.drain;
        self.control.finish(drain, CLOSE_TIME).await;
        self.handle.graceful_shutdown(Some(Duration::from_secs(1)));
        match self.listener.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the listener failed"),
            Err(error) => tracing::error!(%error, "the listener's task failed"),
        }
        for helper in self.helpers {
            helper.abort();
        }
        let engine = self.engine;
        // The thread finishes its step first, which no async worker may wait for.
        if tokio::task::spawn_blocking(move || engine.stop()).await.is_err() {
            tracing::error!("the engine thread could not be stopped");
        }
    }

    fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }
}

/// Every path that is not the page's, with its handler, behind what is done to every request and every answer.
fn router(app: &Arc<App>, tls: bool) -> Router {
    let routes = Router::new()
        .route("/api/chat", any(chat::handler))
        .route("/v1/realtime", any(realtime::handler))
        .route("/v1/realtime/client_secrets", post(realtime::secrets::client_secrets))
        .route("/v1/realtime/sessions", post(realtime::secrets::sessions))
        .route("/v1/audio/transcriptions", transcriptions::route())
        .route("/v1/models", get(realtime::models::list))
        .route("/api/build_info", get(health::build_info))
        .route("/health", get(health::health))
        .route("/health/ready", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/status", get(health::status))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::description));
    let routes = match &app.config.static_dir {
        Some(folder) => routes.fallback_service(pages::other_page(folder)),
        None => routes.fallback(pages::own_page),
    };
    let with_headers = pages::SECURITY_HEADERS
        .into_iter()
        .fold(routes, |routes, (name, value)| routes.layer(SetResponseHeaderLayer::if_not_present(name, value)));
    let insisting = hsts::insist(with_headers.with_state(Arc::clone(app)), tls.then_some(app.config.hsts));
    forwarded::believe(insisting, &app.config.trusted_proxies)
}

/// Bounds what is accepted before anybody knows who it is.
fn acceptor(app: &App) -> BoundedAcceptor {
    let connections = match app.config.quotas.connections {
        0 => app.engine.capacity() + app.config.queue.room + SPARE_CONNECTIONS,
        configured => configured,
    };
    BoundedAcceptor::new(connections, Arc::clone(&app.metrics))
}

fn serve(
    (socket, acceptor): (TcpListener, BoundedAcceptor),
    router: Router,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
) -> Result<JoinHandle<io::Result<()>>, ServerError> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let fail = |source| ServerError::Listen { host: "the socket".to_owned(), port: 0, source };
    let mut server = axum_server::from_tcp(socket).map_err(fail)?.handle(handle).first_request_timeout(REQUEST_TIMEOUT);
    server.http_builder().http1().header_read_timeout(REQUEST_TIMEOUT);
    let Some(config) = tls else {
        return Ok(tokio::spawn(server.acceptor(acceptor).serve(service)));
    };
    let acceptor = RustlsAcceptor::new(config).acceptor(acceptor);
    Ok(tokio::spawn(server.acceptor(acceptor).serve(service)))
}

async fn upkeep(metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        metrics.upkeep();
    }
}

/// Measures how many rows fit, if that was not configured.
async fn find_capacity(
    config: &ServerConfig,
    mut model: ModelHost,
) -> Result<(ModelHost, Option<Calibration>), ServerError> {
    if config.max_sessions != MaxSessions::Auto {
        return Ok((model, None));
    }
    let budget = config.tick_budget;
    let measured = tokio::task::spawn_blocking(move || calibrate(&mut model, budget).map(|found| (model, found)));
    let (model, found) = measured.await.map_err(|_| EngineError::Model("it panicked while measured".to_owned()))??;
    let step_ms = found.points.iter().find(|p| p.rows == found.rows).map_or(0.0, |p| p.step_ms);
    if found.keeps_up {
        tracing::info!(calls = found.rows, step_ms, "this machine was measured to hold so many calls");
    } else {
        tracing::warn!(
            step_ms,
            "this machine does not keep up with this model even for one call; audio will be dropped"
        );
    }
    Ok((model, Some(found)))
}

/// Makes the model's memory and takes its first steps, which no async worker may wait for.
async fn start_engine(
    model: ModelHost,
    rows: usize,
    config: EngineConfig,
    metrics: Arc<Metrics>,
) -> Result<(EngineThread, EngineHandle), ServerError> {
    let started = tokio::task::spawn_blocking(move || EngineThread::start(model, rows, config, metrics));
    Ok(started.await.map_err(|_| EngineError::Model("it panicked in its first steps".to_owned()))??)
}

/// Takes the address before everything that takes long.
fn open(config: &mut ServerConfig) -> Result<(TcpListener, SocketAddr), ServerError> {
    check_folders(config)?;
    config.host =
        listen::bare(&config.host).map_err(|expected| ServerError::Host { host: config.host.clone(), expected })?;
    let listening = listen::bind(&config.host, config.port).and_then(|s| s.local_addr().map(|at| (s, at)));
    listening.map_err(|source| ServerError::Listen { host: config.host.clone(), port: config.port, source })
}

fn check_folders(config: &ServerConfig) -> Result<(), ServerError> {
    if let Some(folder) = config.static_dir.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(ServerError::StaticDir { folder: folder.clone() });
    }
    if let Some(folder) = &config.record_dir {
        std::fs::create_dir_all(folder).map_err(|source| ServerError::RecordDir { folder: folder.clone(), source })?;
    }
    Ok(())
}

fn certificate(config: &ServerConfig, address: SocketAddr) -> Result<Option<CertificateFiles>, TlsError> {
    let wanted = match config.tls {
        TlsChoice::On => true,
        TlsChoice::Off => false,
        TlsChoice::Auto => !address.ip().is_loopback(),
    };
    match (&config.certificate, wanted) {
        (_, false) => Ok(None),
        (Some((cert, key)), true) => Ok(Some(CertificateFiles { cert: cert.clone(), key: key.clone() })),
        (None, true) => {
            let folder = config.cert_dir.clone().map_or_else(tls::default_folder, Ok)?;
            tls::self_signed(&folder, &config.host).map(Some)
        }
    }
}
