//! A running server: engine thread, listener, routes, and an orderly end.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{any, get};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use moshi_engine::EngineError;
use tokio::task::JoinHandle;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::App;
use crate::config::{ServerConfig, TlsChoice};
use crate::engine_thread::EngineThread;
use crate::metrics::Metrics;
use crate::model::ModelHost;
use crate::shutdown::ShutdownControl;
use crate::tls::{CertificateFiles, TlsError};
use crate::{chat, health, pages, tls};

/// A connection that has not sent a whole request after this long is closed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls have to take notice of their close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How often recorded times are moved into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {host} port {port}: {source}")]
    Listen {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The page's folder is not there.
    #[error("static_dir: {folder} is not a folder; leave it out for the page in the binary", folder = folder.display())]
    StaticDir {
        /// The folder.
        folder: PathBuf,
    },
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
    upkeep: JoinHandle<()>,
    engine: EngineThread,
    control: ShutdownControl,
}

impl Server {
    /// Makes the model's memory, listens, and serves in the background.
    ///
    /// # Errors
    /// [`ServerError`] says what is missing.
    pub async fn start(config: ServerConfig, model: ModelHost) -> Result<Self, ServerError> {
        if let Some(folder) = config.static_dir.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(ServerError::StaticDir { folder: folder.clone() });
        }
        let socket = listen(&config.host, config.port)?;
        let address = socket.local_addr().map_err(|source| listen_error(&config, source))?;
        let certificate = certificate(&config, address)?;
        let control = ShutdownControl::new();
        let metrics = Arc::new(Metrics::new(&config.instance_name, env!("CARGO_PKG_VERSION"))?);
        let (model_name, notice, defaults) = (model.name.clone(), model.notice.clone(), model.defaults);
        let (rows, policy) = (config.max_sessions, config.engine);
        let (engine, handle_to_engine) = EngineThread::start(model, rows, policy, Arc::clone(&metrics))?;
        let app = Arc::new(App {
            config,
            engine: handle_to_engine,
            metrics: Arc::clone(&metrics),
            shutdown: control.shutdown(),
            model_name,
            notice,
            defaults,
            started: Instant::now(),
        });
        let handle = Handle::new();
        let router = router(&app);
        let listener = serve(socket, router, certificate.as_ref(), handle.clone()).await?;
        let upkeep = tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP);
            loop {
                tick.tick().await;
                metrics.upkeep();
            }
        });
        Ok(Self { app, address, certificate, handle, listener, upkeep, engine, control })
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
        let local = self.address.ip().is_unspecified() || self.address.ip().is_loopback();
        let host = if local { "localhost".to_owned() } else { bracketed(&self.address) };
        format!("{}://{host}:{}", self.scheme(), self.address.port())
    }

    /// What to open on another machine of the same network, if the server can be reached from there.
    pub fn network_url(&self) -> Option<String> {
        let outward = self.address.ip().is_unspecified().then(tls::outward_address).flatten()?;
        let address = SocketAddr::new(outward, self.address.port());
        Some(format!("{}://{}:{}", self.scheme(), bracketed(&address), address.port()))
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
        self.upkeep.abort();
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

fn router(app: &Arc<App>) -> Router {
    let routes = Router::new()
        .route("/api/chat", any(chat::handler))
        .route("/api/build_info", get(health::build_info))
        .route("/health", get(health::ready))
        .route("/health/ready", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/status", get(health::status))
        .route("/metrics", get(health::metrics));
    let routes = match &app.config.static_dir {
        Some(folder) => routes.fallback_service(pages::other_page(folder)),
        None => routes.fallback(pages::own_page),
    };
    let with_headers = pages::SECURITY_HEADERS
        .into_iter()
        .fold(routes, |routes, (name, value)| routes.layer(SetResponseHeaderLayer::if_not_present(name, value)));
    with_headers.with_state(Arc::clone(app))
}

async fn serve(
    socket: TcpListener,
    router: Router,
    certificate: Option<&CertificateFiles>,
    handle: Handle<SocketAddr>,
) -> Result<JoinHandle<io::Result<()>>, ServerError> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let fail = |source| ServerError::Listen { host: "the socket".to_owned(), port: 0, source };
    let mut server = axum_server::from_tcp(socket).map_err(fail)?.handle(handle).first_request_timeout(REQUEST_TIMEOUT);
    server.http_builder().http1().header_read_timeout(REQUEST_TIMEOUT);
    let Some(files) = certificate else {
        return Ok(tokio::spawn(server.acceptor(NoDelayAcceptor).serve(service)));
    };
    let config: RustlsConfig = tls::rustls_config(files).await?;
    let acceptor = RustlsAcceptor::new(config).acceptor(NoDelayAcceptor);
    Ok(tokio::spawn(server.acceptor(acceptor).serve(service)))
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

fn listen(host: &str, port: u16) -> Result<TcpListener, ServerError> {
    let fail = |source| ServerError::Listen { host: host.to_owned(), port, source };
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(fail)?.collect();
    // `localhost` is both; clients that try IPv6 first go on to IPv4, but not all do the reverse.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(addresses.as_slice()).map_err(fail)
}

fn listen_error(config: &ServerConfig, source: io::Error) -> ServerError {
    ServerError::Listen { host: config.host.clone(), port: config.port, source }
}

fn bracketed(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}
