//! The services beside Observer and Peer: health and reflection.

use std::sync::Arc;

use futures::stream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
use webb_observer::History;

use crate::server::Server;

/// `hubble status` asks for this name; probes ask for none. Every answer has the API's version.
#[tokio::test]
async fn health_is_served() {
    let server = Server::start(Arc::new(History::new(1))).await;
    let mut client = HealthClient::new(server.connect().await);
    for service in ["hubble.server.Observer", ""] {
        let response = client.check(HealthCheckRequest { service: service.into() }).await.unwrap();
        assert_eq!(response.metadata().get("hubble-server-version").unwrap(), "1.19.4");
        assert_eq!(response.into_inner().status(), ServingStatus::Serving, "{service}");
    }
    let unknown = client.check(HealthCheckRequest { service: "nothing".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

/// `hubble reflect` speaks the older form, and asks for the services and their files.
#[tokio::test]
async fn reflection_is_served() {
    let server = Server::start(Arc::new(History::new(1))).await;
    let mut client = ServerReflectionClient::new(server.connect().await);
    let requests = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileByFilename("flow/flow.proto".into()),
        MessageRequest::FileContainingSymbol("observer.Observer".into()),
    ];
    let requests =
        requests.map(|request| ServerReflectionRequest { host: String::new(), message_request: Some(request) });
    let mut responses = client.server_reflection_info(stream::iter(requests)).await.unwrap().into_inner();
    let mut next = async || responses.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = next().await else { panic!("no services") };
    let mut names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    let wanted = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "observer.Observer",
        "peer.Peer",
    ];
    assert_eq!(names, wanted);
    for _ in 0..2 {
        let MessageResponse::FileDescriptorResponse(files) = next().await else { panic!("no file") };
        assert!(!files.file_descriptor_proto.is_empty());
    }
}
