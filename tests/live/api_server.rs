//! An API server in a node's namespace, for agents there.

use std::net::TcpStream;
use std::ops::Deref;

use crate::harness::{Lab, inside};
use crate::kube_api::Api;

/// The server; it ends when this is dropped.
pub(crate) struct ApiServer {
    api: Option<Api>,
    namespace: String,
}

impl ApiServer {
    /// Starts a server at loopback of the lab's first node.
    pub(crate) fn start(lab: &Lab) -> Self {
        let namespace = lab.namespace("node");
        Self { api: inside(&namespace, || Ok(Api::start())), namespace }
    }

    /// Path of a kubeconfig for it.
    pub(crate) fn kubeconfig_text(&self) -> String {
        self.kubeconfig(None).to_str().unwrap().to_owned()
    }
}

impl Deref for ApiServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        self.api.as_ref().unwrap()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let address = self.address();
        self.api = None;
        // Wakes the listener, which only this namespace reaches.
        let _woken = inside(&self.namespace, || TcpStream::connect(address));
    }
}
