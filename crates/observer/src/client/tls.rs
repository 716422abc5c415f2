//! TLS of a client: files that are read for each connection, so that new ones need no restart.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Bytes that a file of certificates or a key may have.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Files and names of a client's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Authorities that the server's certificate is checked by; without them it is not checked at
    /// all, and any server may be the other side.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key, for a server that asks for them.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Name that the server's certificate must have; none is the host's.
    pub server_name: Option<String>,
}

impl ClientTls {
    /// The configuration that the files make now. Reads files.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?;
        let builder = if let Some(ca) = &self.ca {
            let mut roots = RootCertStore::empty();
            for authority in certificates("CA", ca)? {
                roots.add(authority).map_err(|error| unusable("CA", ca, &error))?;
            }
            builder.with_root_certificates(roots)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(algorithms)))
        };
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("certificate", certificate)?;
                let text = read("key", key)?;
                let parsed = PrivateKeyDer::from_pem_slice(&text).map_err(|error| unusable("key", key, &error))?;
                builder.with_client_auth_cert(chain, parsed).map_err(|error| unusable("key", key, &error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// Takes any certificate; the server must have its key.
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

fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MAX_FILE_BYTES => {
            Err(unusable(what, path, &io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB")))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read the {what} file {}: {error}", path.display())),
    }
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

fn unusable(what: &str, path: &Path, error: &dyn std::error::Error) -> String {
    format!("the {what} file {} cannot be used: {error}", path.display())
}
