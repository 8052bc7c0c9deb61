//! The server's certificate: one that was given, or one of our own, made on first use and kept.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One half of the pair is missing.
    #[error("{there} exists but {missing} does not: add it, or remove the other to have both made anew",
        there = there.display(), missing = missing.display())]
    HalfPair {
        /// The file that exists.
        there: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// There is no place to keep the certificate.
    #[error("neither XDG_CONFIG_HOME nor HOME is set; give --cert-dir, --cert and --key, or --no-tls")]
    NoPlace,
    /// The certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The pair does not make a server.
    #[error("{cert} and {key} are not a certificate and its key: {source}", cert = cert.display(), key = key.display())]
    Unusable {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// The folder for our own certificate when none is configured: `rustymoshi/tls` in the user's configuration folder.
///
/// # Errors
/// [`TlsError::NoPlace`].
pub fn default_folder() -> Result<PathBuf, TlsError> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    config.map(|folder| folder.join("rustymoshi").join("tls")).ok_or(TlsError::NoPlace)
}

/// `cert.pem` and `key.pem` of a folder; makes both if neither exists. `host` is a name or address the server goes by.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn self_signed(folder: &Path, host: &str) -> Result<CertificateFiles, TlsError> {
    let files = CertificateFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    match (files.cert.exists(), files.key.exists()) {
        (true, true) => return Ok(files),
        (true, false) => return Err(TlsError::HalfPair { there: files.cert, missing: files.key }),
        (false, true) => return Err(TlsError::HalfPair { there: files.key, missing: files.cert }),
        (false, false) => {}
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names(host))?;
    params.distinguished_name.push(DnType::CommonName, "rustymoshi self-signed");
    let cert = params.self_signed(&key)?;
    std::fs::create_dir_all(folder).map_err(|source| TlsError::File { path: folder.to_owned(), source })?;
    write(&files.key, key.serialize_pem().as_bytes(), 0o600)?;
    write(&files.cert, cert.pem().as_bytes(), 0o644)?;
    Ok(files)
}

/// A rustls configuration from a certificate and its key: TLS 1.2 and 1.3.
///
/// # Errors
/// [`TlsError::Unusable`].
pub async fn rustls_config(files: &CertificateFiles) -> Result<axum_server::tls_rustls::RustlsConfig, TlsError> {
    // Fails only if a provider is there already, which then is the one to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    axum_server::tls_rustls::RustlsConfig::from_pem_file(&files.cert, &files.key)
        .await
        .map_err(|source| TlsError::Unusable { cert: files.cert.clone(), key: files.key.clone(), source })
}

/// This machine's address towards other machines, if it has one.
pub fn outward_address() -> Option<IpAddr> {
    // Connecting a datagram socket only picks a route; nothing is sent. The address is from a block that is reserved
    // for documentation.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

fn names(host: &str) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|s| s.trim().to_owned());
    let address = outward_address().map(|a| a.to_string());
    let unspecified = host.parse::<IpAddr>().is_ok_and(|a| a.is_unspecified());
    let given = (!unspecified).then(|| host.to_owned());
    for name in [machine, address, given].into_iter().flatten() {
        if !name.is_empty() && name.is_ascii() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Writes a file in one go: a reader sees all of it or nothing.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let fail = |source| TlsError::File { path: path.to_owned(), source };
    let temporary = path.with_extension(format!("pem.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&temporary).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&temporary, path).map_err(fail)
}
