//! TLS to a receiver, with files that are followed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use webb_settings::file::{self, FilePoll, Followed, MIB};

use crate::config::{Protocol, TlsConfig};

/// The files of an output's TLS, and what they make.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    config: TlsConfig,
    /// None for Kafka, which has no name for TLS.
    protocol: Option<Protocol>,
    followed: Followed,
    current: Option<Arc<ClientConfig>>,
    /// What is wrong with the present files.
    complaint: Option<String>,
}

impl TlsFiles {
    /// Files that are not read yet.
    pub(crate) fn new(config: TlsConfig, protocol: Option<Protocol>) -> Self {
        let followed = Followed::new(files(&config).cloned(), MIB);
        Self { config, protocol, followed, current: None, complaint: None }
    }

    /// Reads the files if they have changed. True if connections that are open have others. Blocks.
    ///
    /// # Errors
    /// As long as a file cannot be used; what was in use stays.
    pub(crate) fn poll(&mut self) -> Result<bool, String> {
        let made = match self.followed.poll() {
            FilePoll::Changed(_) => make(&self.config, self.protocol),
            FilePoll::Unreadable(number, error) => {
                let path = files(&self.config).nth(number).map(|path| path.display().to_string());
                Err(format!("cannot read {}: {error}", path.unwrap_or_default()))
            }
            FilePoll::Accepted => Ok(None),
            // The system's authorities are not followed.
            FilePoll::Unchanged if self.current.is_none() && self.config.ca_file.is_none() => {
                make(&self.config, self.protocol)
            }
            FilePoll::Unchanged => return self.complaint.clone().map_or(Ok(false), Err),
        };
        self.complaint = made.as_ref().err().cloned();
        let Some(made) = made? else { return Ok(false) };
        self.followed.accept();
        Ok(self.current.replace(Arc::new(made)).is_some())
    }

    /// The configuration for a new connection, with what the files hold now. Blocks.
    ///
    /// # Errors
    /// The file that cannot be used, if none could be used before.
    pub(crate) fn current(&mut self) -> Result<Arc<ClientConfig>, String> {
        let polled = self.poll();
        match (&self.current, polled) {
            (Some(current), _) => Ok(Arc::clone(current)),
            (None, Err(why)) => Err(why),
            (None, Ok(_)) => Err("the files of TLS were not read".to_owned()),
        }
    }

    /// The name that the receiver's certificate must have.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, String> {
        let name = self.config.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name of a server"))
    }
}

/// The files that are followed.
fn files(config: &TlsConfig) -> impl Iterator<Item = &PathBuf> {
    [&config.ca_file, &config.cert_file, &config.key_file].into_iter().flatten()
}

fn make(config: &TlsConfig, protocol: Option<Protocol>) -> Result<Option<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if config.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(algorithms)))
    } else {
        builder.with_root_certificates(authorities(config.ca_file.as_deref())?)
    };
    let mut made = match (&config.cert_file, &config.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("certificate", certificate)?;
            let parsed =
                PrivateKeyDer::from_pem_slice(&read("key", key)?).map_err(|error| unusable("key", key, &error))?;
            builder.with_client_auth_cert(chain, parsed).map_err(|error| unusable("key", key, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    made.alpn_protocols = match protocol {
        Some(Protocol::Grpc) => vec![b"h2".to_vec()],
        None => Vec::new(),
        Some(Protocol::HttpProtobuf) => vec![b"http/1.1".to_vec()],
    };
    Ok(Some(made))
}

/// The authorities of a file, or of the system. An image from scratch has none: there Mozilla's
/// apply, as they were when this program was built.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = file {
        for authority in certificates("CA", path)? {
            roots.add(authority).map_err(|error| unusable("CA", path, &error))?;
        }
        return Ok(roots);
    }
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    file::read(path, MIB).map_err(|error| format!("cannot read the {what} file {}: {error}", path.display()))
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("the {what} file {} holds no certificate in PEM", path.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(what, path, &error)),
    }
}

fn unusable(what: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("the {what} file {} cannot be used: {error}", path.display())
}

/// Takes any certificate; the receiver must have its key.
#[derive(Debug)]
struct Unchecked(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
