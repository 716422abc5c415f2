//! `webb check-config --send`: a heartbeat to each output in each of its streams, and what its
//! receiver answers.

use webb_otlp::{Environment, Output, Stream};
use webb_settings::{Origin, Resolved, Trial, read_file};

use crate::cli::environment;
use crate::exports;
use crate::pipeline::{RollupSite, heartbeat, new_uuid};

/// Sends a heartbeat to each output of a configuration that was checked, one for each stream that
/// it gets, one after the other, as an agent on this machine would. Blocks for at most the timeout
/// of each.
pub fn send_heartbeats(resolved: &Resolved) -> Vec<Trial> {
    let settings = &resolved.settings;
    let Some(path) = &settings.outputs_config else { return Vec::new() };
    let variables = Environment::of_process();
    let failed = |answer: String| Trial { output: "-".to_owned(), stream: None, succeeded: false, answer };
    let found = match read_file(path).and_then(|file| exports::read_outputs(file, &variables)) {
        Ok(found) => found,
        Err(problems) => return vec![failed(problems.to_string())],
    };
    let node = if resolved.origin("node_name") == Origin::Hostname {
        environment().hostname
    } else {
        settings.node_name.clone()
    };
    let site = RollupSite { cluster: settings.cluster_name.clone(), node };
    let is_sent = |stream: &Stream| match stream {
        Stream::Rollups => !found.rollups.window.is_zero(),
        Stream::Flows => found.flows.is_some(),
    };
    let send = |output: &exports::Output| -> Vec<Trial> {
        let streams = output.streams.iter().copied().filter(is_sent);
        let send = |stream: Stream| {
            let outcome = send(output, stream, &variables, &site);
            let succeeded = outcome.is_ok();
            Trial {
                output: output.config.name.clone(),
                stream: Some(stream.label()),
                succeeded,
                answer: outcome.unwrap_or_else(|why| why),
            }
        };
        streams.map(send).collect()
    };
    found.outputs.iter().flat_map(send).collect()
}

fn send(
    wanted: &exports::Output,
    stream: Stream,
    variables: &Environment,
    site: &RollupSite,
) -> Result<String, String> {
    let instance = new_uuid();
    let output = Output::new(wanted.config.clone(), variables, &instance).map_err(|error| error.to_string())?;
    let (encoding, _) = output.limits();
    let request = heartbeat(site, &instance, stream, encoding);
    let request = request.map_err(|error| format!("cannot be compressed: {error}"))?;
    let request = request.ok_or("there is nothing to send")?;
    output.send_once(&request)
}
