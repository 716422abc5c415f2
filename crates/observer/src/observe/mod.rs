//! `webb observe`: asks a server of Hubble's API and prints the answer, by the flags and in the
//! forms of Hubble's own command line.
//!
//! ```text
//! Options ──request──▶ GetFlowsRequest ──ask──▶ responses, encoded ──print──▶ lines
//! ```

mod ask;
mod events;
mod file;
mod flags;
mod flow_text;
pub(crate) mod fuzz;
mod lists;
pub(crate) mod names;
mod options;
mod print;
mod request;
pub(crate) mod style;
mod table;
mod time;

use std::io::Write;

pub use ask::Failure;
use bytes::Bytes;
use futures::FutureExt as _;
pub use options::{Options, Question};
use print::Printer;
use prost::Message as _;
use style::Output;
pub use time::TIME_FORMATS;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::client::{Client, ServerAddress};
use crate::json_write;
use crate::proto::flow::FlowFilter;
use crate::proto::observer::{
    GetFlowsRequest, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse,
    ServerStatusRequest, ServerStatusResponse,
};
use crate::proto::peer::{ChangeNotification, NotifyRequest};
use crate::schema::schema;
use crate::unix_ns;

/// Printed bytes that wait at most before they are written.
const MAX_WAITING: usize = 1 << 16;

/// Asks a server, and prints its answer.
///
/// # Errors
/// If the options contradict each other, the server cannot be asked or refuses, or the output
/// cannot be written.
pub async fn observe(
    question: Question,
    options: &Options,
    address: &ServerAddress,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let style = options.style()?;
    let mut printer = Printer::new(style);
    match question {
        Question::Flows => {
            let request = request::flows(options, style.output, unix_ns())?;
            if options.print_raw_filters {
                return Ok(out.write_all(raw_filters(&request).as_bytes())?);
            }
            if let Some(path) = &options.input_file {
                return file::observe(path, request, &mut printer, out);
            }
            let answers = ask::many(&connect(address).await?, "/observer.Observer/GetFlows", request).await;
            print_all(answers, &mut printer, out, Printer::flows).await
        }
        Question::AgentEvents => {
            let request = request::agent_events(options, unix_ns())?;
            let answers = ask::many(&connect(address).await?, "/observer.Observer/GetAgentEvents", request).await;
            print_all(answers, &mut printer, out, Printer::agent).await
        }
        Question::DebugEvents => {
            let request = request::debug_events(options, unix_ns())?;
            let answers = ask::many(&connect(address).await?, "/observer.Observer/GetDebugEvents", request).await;
            print_all(answers, &mut printer, out, Printer::debug).await
        }
        Question::Status => status(&connect(address).await?, address, style.output, out).await,
        Question::Nodes => {
            let path = "/observer.Observer/GetNodes";
            let nodes: GetNodesResponse = ask::one(&connect(address).await?, path, GetNodesRequest {}).await?;
            Ok(out.write_all(lists::nodes(&nodes, style.output).as_bytes())?)
        }
        Question::Namespaces => {
            let path = "/observer.Observer/GetNamespaces";
            let found: GetNamespacesResponse =
                ask::one(&connect(address).await?, path, GetNamespacesRequest {}).await?;
            Ok(out.write_all(lists::namespaces(&found, style.output).as_bytes())?)
        }
        Question::Peers => {
            let answers = ask::many(&connect(address).await?, "/peer.Peer/Notify", NotifyRequest {}).await;
            print_all(answers, &mut printer, out, |printer, encoded| {
                printer.out.push_str(&lists::peer(&ChangeNotification::decode(encoded)?));
                Ok(())
            })
            .await
        }
    }
}

async fn connect(address: &ServerAddress) -> Result<Client, Failure> {
    Client::connect(address).await.map_err(|error| Failure::Text(format!("failed to connect to '{address}': {error}")))
}

/// Prints answers until their end. What is printed is written when nothing more is at hand.
async fn print_all(
    answers: Result<Streaming<Bytes>, Status>,
    printer: &mut Printer,
    out: &mut dyn Write,
    print: impl Fn(&mut Printer, &[u8]) -> Result<(), prost::DecodeError>,
) -> Result<(), Failure> {
    let ended = match answers {
        Ok(mut answers) => loop {
            let at_hand = if printer.out.len() < MAX_WAITING { answers.message().now_or_never() } else { None };
            let next = if let Some(next) = at_hand {
                next
            } else {
                write(printer, out)?;
                answers.message().await
            };
            match next {
                Ok(Some(encoded)) => print(printer, &encoded)?,
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        },
        Err(status) => Err(status),
    };
    printer.end();
    write(printer, out)?;
    match ended {
        Err(status) if status.code() != Code::Cancelled => Err(status.into()),
        _ => Ok(()),
    }
}

fn write(printer: &mut Printer, out: &mut dyn Write) -> Result<(), Failure> {
    if !printer.errors.is_empty() {
        eprint!("{}", printer.errors);
        printer.errors.clear();
    }
    if !printer.out.is_empty() {
        out.write_all(printer.out.as_bytes())?;
        out.flush()?;
        printer.out.clear();
    }
    Ok(())
}

async fn status(client: &Client, address: &ServerAddress, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    const SERVING: i32 = 1;
    let request = HealthCheckRequest { service: "hubble.server.Observer".to_owned() };
    let health: HealthCheckResponse = ask::one(client, "/grpc.health.v1.Health/Check", request).await?;
    if health.status != SERVING {
        return Err(Failure::Text(format!("not healthy: {}", health.status().as_str_name())));
    }
    let path = "/observer.Observer/ServerStatus";
    let answer: ServerStatusResponse = ask::one(client, path, ServerStatusRequest {}).await?;
    if output == Output::Compact {
        writeln!(out, "Healthcheck (via {address}): Ok")?;
    }
    Ok(out.write_all(lists::status(&answer, output).as_bytes())?)
}

/// The filters of a request as YAML, for the options `--allowlist` and `--denylist`.
fn raw_filters(request: &GetFlowsRequest) -> String {
    let mut out = String::new();
    for (name, filters) in [("allowlist", &request.whitelist), ("denylist", &request.blacklist)] {
        if filters.is_empty() {
            continue;
        }
        out.push_str(&format!("{name}:\n"));
        for filter in filters {
            let text = filter_json(filter).replace('\'', "''");
            out.push_str(&format!("    - '{text}'\n"));
        }
    }
    if out.is_empty() { "{}\n".to_owned() } else { out }
}

fn filter_json(filter: &FlowFilter) -> String {
    let mut json = Vec::new();
    json_write::write(&filter.encode_to_vec(), schema().message("flow.FlowFilter"), &mut json);
    String::from_utf8_lossy(&json).into_owned()
}

/// The compact line of an encoded flow, without its time: for tests of what writes it in another
/// way.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may end where it is wrong")]
pub(crate) fn compact_line(flow: &[u8]) -> String {
    use crate::proto::observer::GetFlowsResponse;
    use crate::proto::observer::get_flows_response::ResponseTypes;

    let response_types = Some(ResponseTypes::Flow(Bytes::copy_from_slice(flow)));
    let response = GetFlowsResponse { response_types, ..GetFlowsResponse::default() };
    let mut printer = Printer::new(style::Style { translate: true, ..style::Style::default() });
    printer.flows(&response.encode_to_vec()).unwrap();
    let (_, line) = printer.out.split_once(": ").unwrap();
    line.trim_end_matches('\n').to_owned()
}
