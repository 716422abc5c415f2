//! What sends requests: the client of OTLP, or that of Kafka.

use crate::answer::Answer;
use crate::client::Client;
use crate::environment::Environment;
use crate::io::Failure;
use crate::kafka::KafkaClient;
use crate::request::Request;
use crate::resolved::{Receiver, Resolved};

/// The client of a receiver.
#[derive(Debug)]
pub(crate) enum Sender<'a> {
    Otlp(Client<'a>),
    Kafka(KafkaClient<'a>),
}

impl<'a> Sender<'a> {
    /// A client without connections.
    pub(crate) fn new(resolved: &'a Resolved, environment: &'a Environment) -> Self {
        match &resolved.receiver {
            Receiver::Otlp(otlp) => Self::Otlp(Client::new(otlp, environment)),
            Receiver::Kafka(kafka) => Self::Kafka(KafkaClient::new(kafka)),
        }
    }

    /// Sends a request, and reads the answer.
    ///
    /// # Errors
    /// If there is no answer within the timeout, or if it is too large to be sent.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        match self {
            Self::Otlp(client) => Ok(client.send(request).await?),
            Self::Kafka(client) => client.send(request).await,
        }
    }

    /// Reads files that have changed. Returns what is wrong with them. Blocks.
    pub(crate) fn poll_files(&self) -> Vec<String> {
        match self {
            Self::Otlp(client) => client.poll_files(),
            Self::Kafka(client) => client.poll_files(),
        }
    }

    /// Makes the next request open a connection.
    pub(crate) fn forget_connections(&self) {
        match self {
            Self::Otlp(client) => client.forget_connections(),
            Self::Kafka(client) => client.forget_connections(),
        }
    }

    /// True if files say who the sender is.
    pub(crate) fn has_login_files(&self) -> bool {
        match self {
            Self::Otlp(client) => client.has_login_files(),
            Self::Kafka(client) => client.has_login_files(),
        }
    }

    /// Reads these files. True if they have changed. Blocks.
    pub(crate) fn poll_login(&self) -> bool {
        match self {
            Self::Otlp(client) => client.poll_headers(),
            Self::Kafka(client) => client.poll_login(),
        }
    }

    /// A text without secrets.
    pub(crate) fn mask(&self, text: &str) -> String {
        match self {
            Self::Otlp(client) => client.mask(text),
            Self::Kafka(client) => client.mask(text),
        }
    }
}
