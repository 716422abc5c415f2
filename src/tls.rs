//! Certificates for a listener, read from files that are replaced by other programs
//! (hubble-contract §3.7).
//!
//! The files are followed together ([`webb_settings::file`]): a new set is used from the next
//! handshake on, connections that are open stay as they are, and a set that does not fit together
//! (a certificate that came before its key) changes nothing. Until there is a first set every
//! handshake is refused.
//!
//! TLS 1.3 only. Sessions are not resumed: a resumed one would rest on a client certificate that
//! was checked against authorities which may have been replaced since.

mod validity;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use thiserror::Error;
use webb_flow::clock::unix_ns;
use webb_settings::file::{FileError, FilePoll, Followed, MIB};

use crate::reloads::Reloads;

/// Paths of the PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The server's certificate and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities for clients' certificates. If given, no client comes in without one.
    pub client_ca: Option<PathBuf>,
}

/// Error that makes a set of files unusable.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file is missing, or not readable for us.
    #[error("cannot read the {what} file {}: {error}", path.display())]
    Read {
        /// `certificate`, `key` or `client CA`.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of reading it.
        error: FileError,
    },
    /// The file is something else.
    #[error("the {what} file {} does not hold a {what} in PEM: {error}", path.display())]
    Pem {
        /// `certificate`, `key` or `client CA`.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of parsing it.
        error: pem::Error,
    },
    /// The file is PEM, but its content is unusable.
    #[error("the {what} file {} cannot be used: {error}", path.display())]
    Unusable {
        /// `certificate`, `key` or `client CA`.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of using it.
        error: String,
    },
}

/// The files and the result of their last poll.
struct Polled {
    followed: Followed,
    /// Error of the present files, if they cannot be used.
    complaint: Option<Arc<TlsError>>,
}

/// A set of files in use.
#[derive(Debug)]
struct Loaded {
    certificate: Arc<CertifiedKey>,
    /// End of its validity, in seconds since 1970.
    expiry: Option<i64>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// The last set that could be used; empty until there is one.
type Current = Arc<ArcSwapOption<Loaded>>;

/// A set of certificate files and what was last read from them.
pub struct TlsFiles {
    paths: Paths,
    provider: Arc<CryptoProvider>,
    current: Current,
    polled: Mutex<Polled>,
    reloads: Reloads,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").field("paths", &self.paths).field("ready", &self.is_ready()).finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Files that have not been polled yet.
    pub fn new(paths: Paths) -> Self {
        let all = [&paths.certificate, &paths.key].into_iter().chain(&paths.client_ca).cloned();
        Self {
            polled: Mutex::new(Polled { followed: Followed::new(all, MIB), complaint: None }),
            paths,
            provider: Arc::new(ring::default_provider()),
            current: Current::default(),
            reloads: Reloads::default(),
        }
    }

    /// True once handshakes are answered.
    pub fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    /// Second since 1970 at which the first certificate of the chain in use expires; `None` before
    /// there is one.
    pub fn expiry(&self) -> Option<i64> {
        self.current.load().as_ref().and_then(|loaded| loaded.expiry)
    }

    /// What is wrong with the certificate in use: clients refuse one that has expired.
    pub fn expired(&self) -> Option<String> {
        let now = i64::try_from(unix_ns() / 1_000_000_000).unwrap_or(i64::MAX);
        self.expiry().filter(|expiry| *expiry <= now)?;
        let path = self.paths.certificate.display();
        Some(format!("a TLS certificate in {path} has expired, and clients refuse it"))
    }

    /// Outcomes of reloads of changed files.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Reads the files, and uses what they hold from now on if it has changed. True if it has.
    /// Blocks.
    ///
    /// # Errors
    /// As long as they cannot be used; what was in use stays.
    pub fn poll(&self) -> Result<bool, Arc<TlsError>> {
        let mut polled = self.polled.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match polled.followed.poll() {
            FilePoll::Unchanged => return polled.complaint.clone().map_or(Ok(false), Err),
            FilePoll::Accepted => {
                self.reloads.confirmed();
                Ok(false)
            }
            FilePoll::Changed(contents) => self.take(&contents).map(|()| true),
            FilePoll::Unreadable(number, error) => {
                self.reloads.failed();
                Err(self.unreadable(number, error))
            }
        };
        if let Ok(true) = outcome {
            polled.followed.accept();
        }
        let outcome = outcome.map_err(Arc::new);
        polled.complaint = outcome.as_ref().err().cloned();
        outcome
    }

    /// The files by number, as they were given to be followed.
    fn unreadable(&self, number: usize, error: FileError) -> TlsError {
        let (what, path) = match (number, &self.paths.client_ca) {
            (0, _) => ("certificate", &self.paths.certificate),
            (2, Some(authorities)) => ("client CA", authorities),
            _ => ("key", &self.paths.key),
        };
        TlsError::Read { what, path: path.clone(), error }
    }

    fn take(&self, contents: &[Vec<u8>]) -> Result<(), TlsError> {
        let loaded = self.load(contents).inspect_err(|_| {
            self.reloads.rejected();
        })?;
        self.current.store(Some(Arc::new(loaded)));
        self.reloads.applied();
        Ok(())
    }

    fn load(&self, contents: &[Vec<u8>]) -> Result<Loaded, TlsError> {
        let content = |number: usize| contents.get(number).map_or(&[][..], Vec::as_slice);
        let chain = certificates("certificate", &self.paths.certificate, content(0))?;
        let path = &self.paths.key;
        let key = PrivateKeyDer::from_pem_slice(content(1)).map_err(|error| TlsError::Pem {
            what: "key",
            path: path.clone(),
            error,
        })?;
        let (expiry, is_old) = (validity::expiry(&chain), chain.first().is_some_and(|own| validity::is_version_1(own)));
        // Also finds a certificate that is of another key.
        let certificate = CertifiedKey::from_der(chain, key, &self.provider).map_err(|error| match error {
            rustls::Error::InvalidCertificate(error) => {
                let (what, path) = ("certificate", self.paths.certificate.clone());
                let error =
                    if is_old { "it is of X.509 version 1; version 3 is needed".to_owned() } else { error.to_string() };
                TlsError::Unusable { what, path, error }
            }
            error => {
                let error = format!("with {}: {error}", self.paths.certificate.display());
                TlsError::Unusable { what: "key", path: path.clone(), error }
            }
        })?;
        let clients = self.paths.client_ca.as_ref().map(|path| self.verifier(path, content(2))).transpose()?;
        Ok(Loaded { certificate: Arc::new(certificate), expiry, clients })
    }

    fn verifier(&self, path: &Path, authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let unusable = |error: String| TlsError::Unusable { what: "client CA", path: path.to_owned(), error };
        let mut roots = RootCertStore::empty();
        for authority in certificates("client CA", path, authorities)? {
            roots.add(authority).map_err(|error| unusable(error.to_string()))?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| unusable(error.to_string()))
    }

    /// The configuration of a listener that follows the files.
    ///
    /// # Errors
    /// Never in practice: the versions and the algorithms are constants.
    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = if self.paths.client_ca.is_some() {
            let current = Arc::clone(&self.current);
            builder.with_client_cert_verifier(Arc::new(Clients { current, algorithms }))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificate(Arc::clone(&self.current))));
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// All certificates in a file; at least one.
fn certificates(what: &'static str, path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError::Pem { what, path: path.to_owned(), error: pem::Error::NoItemsFound }),
        Err(error) => Err(TlsError::Pem { what, path: path.to_owned(), error }),
    }
}

/// Gives each handshake the certificate of the moment.
#[derive(Debug)]
struct Certificate(Current);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|loaded| Arc::clone(&loaded.certificate))
    }
}

/// Checks each client against the authorities of the moment.
#[derive(Debug)]
struct Clients {
    current: Current,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Clients {
    /// None: authorities come and go, and a client with one certificate sends it anyway.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.current.load().as_ref().and_then(|loaded| loaded.clients.as_ref()) {
            Some(clients) => clients.verify_client_cert(end_entity, intermediates, now),
            None => Err(rustls::Error::General("there are no authorities to check a client with yet".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
