//! Certificates: the right one, and one that an unknown authority signed; a client's, for
//! a server that asks.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// An authority and a server that it vouches for.
pub struct Identity {
    /// The authority's certificate, in PEM.
    pub authority: String,
    pub server: Arc<ServerConfig>,
    /// Certificate and key of a client, in PEM.
    pub client: (String, String),
}

/// `name`: the server's, or its address. `mutual`: a client without a certificate is refused.
pub fn identity(name: &str, mutual: bool) -> Identity {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new([]).unwrap().signed_by(&client_key, &issuer).unwrap().pem();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = if mutual { builder.with_client_cert_verifier(verifier) } else { builder.with_no_client_auth() };
    let server = builder.with_single_cert(chain, key).unwrap();
    Identity { authority, server: Arc::new(server), client: (client, client_key.serialize_pem()) }
}
