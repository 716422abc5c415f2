//! What to do about a connection that fails, for the person who must act.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::config::Protocol;
use crate::target::HTTP_PATH;

/// The client's text for a status line and headers beyond its bounds. The library has a method for
/// this error in servers alone.
const TOO_LARGE: &str = "message head is too large";

/// Remedy where a receiver refuses the agent's certificate, or that it has none.
const OTHER_CERTIFICATE: &str =
    "; the receiver wants another certificate of the agent: see to `tls.cert_file` and `tls.key_file`";

/// What to do about a failure of TLS; empty if nothing is known.
pub(crate) fn of_tls(error: &(dyn Error + 'static)) -> &'static str {
    match find(error) {
        Some(rustls::Error::InvalidCertificate(error)) => of_certificate(error),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "; the port does not speak TLS: use an endpoint with http, or the receiver's port for TLS"
        }
        Some(rustls::Error::AlertReceived(alert)) => of_alert(*alert),
        Some(rustls::Error::PeerIncompatible(_)) => "; TLS 1.2 or 1.3 is needed",
        _ => "",
    }
}

/// What to do about a failure of TLS with a broker of Kafka; empty if nothing is known.
pub(crate) fn of_broker_tls(error: &(dyn Error + 'static)) -> &'static str {
    match find(error) {
        Some(rustls::Error::InvalidMessage(_)) => {
            "; the port does not speak TLS: use the brokers' port for TLS, or leave `tls` out"
        }
        Some(_) => of_tls(error),
        None => match error.downcast_ref().map(io::Error::kind) {
            // As a broker does that reads a request.
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                "; the port may not speak TLS: use the brokers' port for TLS, or leave `tls` out"
            }
            _ => "",
        },
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        // The latter is of another authority with the same name, such as one that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "; set `tls.ca_file` to the certificate of the authority that has signed the receiver's"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "; renew the receiver's certificate, or set this node's clock if that is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "; set the clock of this node, or of what has made the certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; use a name that the certificate has in the endpoint, or set `tls.server_name` to one"
        }
        _ => "",
    }
}

fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        // Where another authority of the same name has signed it.
        | AlertDescription::DecryptError
        | AlertDescription::UnknownCA => OTHER_CERTIFICATE,
        AlertDescription::NoApplicationProtocol => "; the port speaks another protocol: see to `protocol`",
        _ => "",
    }
}

/// What to do about a failed exchange; empty if nothing is known. `text`: what is known of it.
/// `has_answered`: the receiver has answered before.
/// `is_tls`: the connection has TLS.
pub(crate) fn of_exchange(
    (protocol, is_tls): (Protocol, bool),
    error: &hyper::Error,
    text: &str,
    has_answered: bool,
) -> &'static str {
    // With TLS 1.3 a certificate is judged after the handshake; of HTTP/2 only the text is left.
    if ["Certificate", "BadCertificate", "DecryptError", "UnknownCA"]
        .iter()
        .any(|alert| text.contains(&format!("fatal alert: {alert}")))
    {
        return OTHER_CERTIFICATE;
    }
    match (protocol, of_tls(error)) {
        // A server of HTTP/1.1 closes the connection, and how that is seen depends on the moment.
        (Protocol::Grpc, "") if !has_answered && !is_tls => {
            "; it has not answered by HTTP/2 yet: if the port speaks TLS, use an endpoint with https; if it speaks \
             HTTP/1.1, use `protocol: http/protobuf`, or the receiver's port for gRPC"
        }
        (Protocol::Grpc, "") if !has_answered => {
            "; it has not answered by HTTP/2 yet: if the port speaks HTTP/1.1, use `protocol: http/protobuf`, \
             or the receiver's port for gRPC"
        }
        (Protocol::HttpProtobuf, _) if error.is_parse() && text.contains(TOO_LARGE) => {
            "; the answer's status line and headers have more than 64 KiB or 100 lines: see to the receiver, or to a proxy \
             before it"
        }
        // With an alert of TLS in plain bytes, or without a word.
        (Protocol::HttpProtobuf, "") if !has_answered && !is_tls => {
            "; it has not answered by HTTP/1.1 yet: if the port speaks TLS, use an endpoint with https; if it speaks \
             HTTP/2 only, use `protocol: grpc`, or the receiver's port for HTTP"
        }
        (Protocol::HttpProtobuf, _) if error.is_parse() => {
            "; the port does not speak HTTP/1.1: use `protocol: grpc`, or the receiver's port for HTTP"
        }
        (_, of_tls) => of_tls,
    }
}

/// What to do about a path that the receiver does not have; none if it is a usual one.
pub(crate) fn of_path(path: &str) -> Option<String> {
    (!path.ends_with(HTTP_PATH)).then(|| {
        format!(
            "requests go to the path {path}, as the endpoint has it: receivers take logs at one that ends in {HTTP_PATH}"
        )
    })
}

/// The error of TLS in a chain of causes.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an error of I/O wraps is no cause of it.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped));
    }
    None
}
