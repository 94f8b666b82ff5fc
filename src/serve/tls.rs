//! The certificate of the listeners, read again when its files change.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// A certificate with its key, and where they came from.
#[derive(Debug)]
pub struct Certificate {
    files: Tls,
    current: ArcSwap<CertifiedKey>,
    /// The files as they were when they were last read, well or not.
    seen: Mutex<Stamps>,
}

/// What tells that a file was written or replaced: inode, length, seconds and nanoseconds of the
/// last write.
type Stamp = (u64, u64, i64, i64);
type Stamps = [Option<Stamp>; 2];

impl Certificate {
    /// Reads both files.
    pub fn load(files: &Tls) -> anyhow::Result<Self> {
        let stamps = stamps(files);
        Ok(Self {
            current: ArcSwap::from_pointee(read(files)?),
            seen: Mutex::new(stamps),
            files: files.clone(),
        })
    }

    /// Reads the files again if they changed; true if there is a new certificate. After an error
    /// the old one stays, and the next change is waited for.
    pub fn refresh(&self) -> anyhow::Result<bool> {
        let now = stamps(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        self.current.store(Arc::new(read(&self.files)?));
        Ok(true)
    }

    /// The settings of the listeners: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub fn server_config(self: Arc<Self>) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn stamps(files: &Tls) -> Stamps {
    [stamp(&files.cert), stamp(&files.key)]
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

fn read(files: &Tls) -> anyhow::Result<CertifiedKey> {
    let Tls { cert, key } = files;
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", cert.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", cert.display());
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key from {}", key.display()))?;
    let pair = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider());
    pair.with_context(|| {
        format!(
            "the key in {} does not fit the certificate in {}",
            key.display(),
            cert.display()
        )
    })
}
