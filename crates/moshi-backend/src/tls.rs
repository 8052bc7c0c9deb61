//! The server's certificate: one that was given, or one of our own, made on first use and kept.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use crate::text_file;

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

/// A certificate that a server shows.
#[derive(Clone)]
pub(crate) struct Shown {
    files: CertificateFiles,
    config: RustlsConfig,
}

impl Shown {
    /// Reads a certificate and its key, and the names that it is for. TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be read, or both where they do not make a server.
    pub(crate) async fn load(files: CertificateFiles) -> Result<(Self, CertificateNames), TlsError> {
        // Fails only if a provider is there already, which then is the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (cert, key) = read(&files)?;
        let names = CertificateNames::of(&cert);
        match RustlsConfig::from_pem(cert, key).await {
            Ok(config) => Ok((Self { files, config }, names)),
            Err(source) => Err(unusable(&files, source)),
        }
    }

    /// Reads both files again; on an error all stays as it was.
    ///
    /// # Errors
    /// As [`Shown::load`].
    pub(crate) async fn renew(&self) -> Result<CertificateNames, TlsError> {
        let (cert, key) = read(&self.files)?;
        let names = CertificateNames::of(&cert);
        match self.config.reload_from_pem(cert, key).await {
            Ok(()) => Ok(names),
            Err(source) => Err(unusable(&self.files, source)),
        }
    }

    /// Where it is.
    pub(crate) fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// What a listener takes.
    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }
}

/// A certificate and its key, as they stand in their files.
fn read(files: &CertificateFiles) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &PathBuf| text_file::pem(path).map_err(|source| TlsError::File { path: path.clone(), source });
    Ok((read(&files.cert)?, read(&files.key)?))
}

fn unusable(files: &CertificateFiles, source: std::io::Error) -> TlsError {
    TlsError::Unusable { cert: files.cert.clone(), key: files.key.clone(), source }
}

/// The names that a certificate is for; by default none.
#[derive(Debug, Default)]
pub(crate) struct CertificateNames(Option<CertificateDer<'static>>);

impl CertificateNames {
    /// Those of the first certificate in a PEM file.
    fn of(pem: &[u8]) -> Self {
        Self(CertificateDer::from_pem_slice(pem).ok())
    }

    /// Whether a browser would take the certificate for this name, were it signed by somebody whom it trusts.
    pub(crate) fn include(&self, name: &str) -> bool {
        let parsed = self.0.as_ref().and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
        let (Some(certificate), Ok(name)) = (parsed, ServerName::try_from(name)) else { return false };
        rustls::client::verify_server_name(&certificate, &name).is_ok()
    }
}

/// The name of this machine, where there is one.
pub(crate) fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
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
    let address = outward_address().map(|a| a.to_string());
    let unspecified = host.parse::<IpAddr>().is_ok_and(|a| a.is_unspecified());
    let given = (!unspecified).then(|| host.to_owned());
    for name in [machine_name(), address, given].into_iter().flatten() {
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
