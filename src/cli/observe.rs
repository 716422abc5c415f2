//! `webb observe`: the flags of Hubble's command line.
//!
//! Filters count in the order in which they are typed, since `--not` means the next one; so they
//! are a table here, and their values are put in order after parsing.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use webb_observer::client::{ClientTls, ServerAddress};
use webb_observer::observe::{Options, Question, TIME_FORMATS};

/// Where the agent, and Cilium's, serve flows.
const DEFAULT_SERVER: &str = "unix:///var/run/cilium/hubble.sock";

/// Port of a server that is named without one.
const DEFAULT_PORT: u16 = 4245;

pub(super) const HELP: &str = "\
Prints the flows that a server of Hubble's API has: this node's agent, Hubble's own or its Relay.
Flags and output are those of `hubble observe`; the values of a flag are alternatives, different
flags must all match, and --not leaves out what the next flag matches.

Examples:
  webb observe                                        the last 20 flows of this node
  webb observe -f --namespace shop --verdict DROPPED  what is dropped, as it happens
  webb observe --pod shop/web --to-port 5432 --since 5m
  webb observe --all --not --protocol dns -o jsonpb | webb replay -
  webb observe --cel-expression \"_flow.l4.TCP.destination_port == 443u\"
  webb observe --input-file flows.jsonl.zst --http-status 5+
  webb observe --server tls://relay:443 --tls-ca-cert-files ca.crt --last 100
  webb observe status                                 how many flows there are, since when
  webb observe list nodes

Environment:
  HUBBLE_SERVER    as --server

Exit codes:
  0   done, or interrupted
  1   the server cannot be reached or refuses, or the flags contradict each other
  64  the command line is wrong
  74  the output cannot be written";

/// A filter: its name, its letter, the name of its value (none of a flag alone), its help.
type Filter = (&'static str, Option<char>, &'static str, &'static str);

const FILTERS: [Filter; 68] = [
    ("not", None, "", "Leave out the flows that the next filter matches"),
    ("pod", None, "[NAMESPACE/]POD", "Pod at either end, by the beginning of its name; /POD is of any namespace"),
    ("from-pod", None, "[NAMESPACE/]POD", "Pod that sends"),
    ("to-pod", None, "[NAMESPACE/]POD", "Pod that receives"),
    ("namespace", Some('n'), "NAMESPACE", "Namespace of either end"),
    ("from-namespace", None, "NAMESPACE", "Namespace of the sender"),
    ("to-namespace", None, "NAMESPACE", "Namespace of the receiver"),
    ("all-namespaces", Some('A'), "", "Either end in any namespace"),
    ("from-all-namespaces", None, "", "The sender in any namespace"),
    ("to-all-namespaces", None, "", "The receiver in any namespace"),
    ("ip", None, "ADDRESS", "Address or network (CIDR) of either end"),
    ("from-ip", None, "ADDRESS", "Address or network of the sender"),
    ("to-ip", None, "ADDRESS", "Address or network of the receiver"),
    ("snat-ip", None, "ADDRESS", "Address or network that the sender is translated to"),
    ("ipv4", Some('4'), "", "IPv4 only"),
    ("ipv6", Some('6'), "", "IPv6 only"),
    ("ip-version", None, "VERSION", "IP version: v4, v6 or none"),
    ("label", Some('l'), "SELECTOR", "Labels of either end: app=web, k8s:tier in (a, b), !canary"),
    ("from-label", None, "SELECTOR", "Labels of the sender"),
    ("to-label", None, "SELECTOR", "Labels of the receiver"),
    ("port", None, "PORT", "Port of either end"),
    ("from-port", None, "PORT", "Port of the sender"),
    ("to-port", None, "PORT", "Port of the receiver"),
    ("protocol", None, "PROTOCOL", "tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp, igmp, dns, http"),
    ("tcp-flags", None, "FLAGS", "TCP flags that are all set: syn,ack"),
    ("service", None, "[NAMESPACE/]NAME", "Service at either end, by the beginning of its name"),
    ("from-service", None, "[NAMESPACE/]NAME", "Service that sends"),
    ("to-service", None, "[NAMESPACE/]NAME", "Service that receives"),
    ("workload", None, "[KIND/]NAME", "Workload at either end: Deployment/web, CronJob/"),
    ("from-workload", None, "[KIND/]NAME", "Workload that sends"),
    ("to-workload", None, "[KIND/]NAME", "Workload that receives"),
    ("identity", None, "IDENTITY", "Security identity of either end, a number or a reserved name such as world"),
    ("from-identity", None, "IDENTITY", "Security identity of the sender"),
    ("to-identity", None, "IDENTITY", "Security identity of the receiver"),
    ("fqdn", None, "PATTERN", "DNS name of either end: *.example.com"),
    ("from-fqdn", None, "PATTERN", "DNS name of the sender"),
    ("to-fqdn", None, "PATTERN", "DNS name of the receiver"),
    ("cluster", None, "CLUSTER", "Cluster of either end"),
    ("from-cluster", None, "CLUSTER", "Cluster of the sender"),
    ("to-cluster", None, "CLUSTER", "Cluster of the receiver"),
    ("verdict", None, "VERDICT", "FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED"),
    ("drop-reason-desc", None, "REASON", "Reason of a drop: POLICY_DENIED"),
    ("type", Some('t'), "TYPE[:SUBTYPE]", "drop, l7, policy-verdict, trace, trace:to-endpoint, capture, trace-sock"),
    ("traffic-direction", None, "DIRECTION", "ingress or egress"),
    ("reply", None, "", "Replies only"),
    ("not-reply", None, "", "No replies"),
    ("encrypted", None, "", "Encrypted flows only"),
    ("unencrypted", None, "", "Flows that are not encrypted"),
    ("interface", None, "NAME", "Interface that the flow was seen at"),
    ("http-status", None, "STATUS", "Status of an HTTP response: 404, 5+"),
    ("http-method", None, "METHOD", "Method of an HTTP request"),
    ("http-path", None, "REGEX", "Path of an HTTP request"),
    ("http-url", None, "REGEX", "URL of an HTTP request"),
    ("http-header", None, "NAME:VALUE", "Header of an HTTP request"),
    ("dns-query", None, "REGEX", "Name that DNS was asked for"),
    ("node-name", None, "PATTERN", "Node that saw the flow: node-1, cluster/node-*"),
    ("node-label", None, "SELECTOR", "Labels of the node that saw the flow"),
    ("trace-id", None, "ID", "Trace of the request"),
    ("ip-trace-id", None, "ID", "Trace by an IP option"),
    ("uuid", None, "UUID", "The flow of this id"),
    ("cel-expression", None, "EXPRESSION", "Expression in CEL that is true of the flow, _flow (docs/flows.md)"),
    ("allowlist", None, "JSON", "Filters as JSON, as --print-raw-filters prints them"),
    ("denylist", None, "JSON", "Filters as JSON of what is left out"),
    ("last", None, "NUMBER", "The last flows; 20 unless anything else says how many"),
    ("first", None, "NUMBER", "The first flows, the oldest ones or those from --since on"),
    ("since", None, "TIME", "Flows since then: 5m (ago), 2026-03-01T10:00Z"),
    ("until", None, "TIME", "Flows up to then"),
    ("field-mask", None, "PATHS", "Fields to ask for, with JSON: source.pod_name,verdict"),
];

/// Names in the table that are no filters: they are read by themselves.
const SELECTORS: [&str; 7] = ["allowlist", "denylist", "last", "first", "since", "until", "field-mask"];

/// `webb observe`.
#[derive(Debug, Clone, Default)]
pub struct ObserveArgs {
    /// What is asked.
    pub question: Question,
    /// How it is asked, and how the answer is printed.
    pub options: Options,
    /// `--server`, if it is given.
    pub server: Option<String>,
    /// `--color`: always, never or auto.
    pub color: String,
    /// TLS without `tls://`.
    tls: bool,
    /// Whether the server's certificate is not checked.
    allow_insecure: bool,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    // `--flag=false` is allowed, as Hubble's.
    let arg = Arg::new(name).long(name).help(help).num_args(0..=1).require_equals(true);
    arg.default_missing_value("true").value_parser(value_parser!(bool)).hide_possible_values(true).value_name("BOOL")
}

fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

fn file(name: &'static str, help: &'static str) -> Arg {
    value(name, "FILE", help).value_parser(value_parser!(PathBuf))
}

fn filter((name, short, value_name, help): Filter) -> Arg {
    let heading = if SELECTORS.contains(&name) { "Selection" } else { "Filters" };
    let arg = Arg::new(name).long(name).help(help).help_heading(heading).action(ArgAction::Append);
    let arg = match value_name {
        "" => arg.num_args(0).default_missing_value("true"),
        // A label may begin with `!`, and an expression with a minus.
        _ => arg.value_name(value_name).allow_hyphen_values(false),
    };
    let arg = match name {
        "last" | "first" => arg.value_parser(value_parser!(u64)),
        "field-mask" => arg.value_delimiter(','),
        _ => arg,
    };
    if let Some(short) = short { arg.short(short) } else { arg }
}

impl Args for ObserveArgs {
    fn augment_args(command: Command) -> Command {
        let command = command.args(FILTERS.map(filter)).args([
            flag("all", "All flows that the server has").help_heading("Selection"),
            flag("follow", "Each flow as it comes").short('f').help_heading("Selection"),
            file("input-file", "Flows of a file, plain, gzip or zstd, instead of a server's; - is standard input")
                .help_heading("Selection"),
        ]);
        let output = [
            value("output", "FORM", "compact, dict, table or jsonpb").short('o').default_value("compact").global(true),
            value("time-format", "FORMAT", "Form of times, which are in UTC")
                .default_value("StampMilli")
                .value_parser(TIME_FORMATS.map(|(name, _)| name))
                .ignore_case(true)
                .global(true),
            value("color", "WHEN", "Colours: auto, always or never").default_value("auto").global(true),
            flag("print-node-name", "Print the node that saw the flow").global(true),
            flag("print-policy-names", "Print the policies behind a verdict of theirs").global(true),
            flag("numeric", "Print addresses, not names"),
            flag("ip-translation", "Print names in place of addresses").default_value("true"),
            flag("use-default-field-masks", "Ask only for what is printed").default_value("true"),
            flag("print-raw-filters", "Print the filters as YAML, and ask no server"),
            flag("debug", "Print also what a relay says of nodes that are well").short('D').global(true),
        ];
        let server = [
            value("server", "ADDRESS", "unix:///path, address:port or tls://address:port").global(true),
            flag("tls", "Use TLS").global(true),
            flag("tls-allow-insecure", "Take any certificate of the server, whose flows may then be anybody's")
                .global(true),
            file("tls-ca-cert-files", "Authorities of the server's certificate, PEM; needed for TLS").global(true),
            file("tls-client-cert-file", "Certificate to show to the server, PEM")
                .requires("tls-client-key-file")
                .global(true),
            file("tls-client-key-file", "Its private key, PEM").requires("tls-client-cert-file").global(true),
            value("tls-server-name", "NAME", "Name in the server's certificate; the host's unless given").global(true),
        ];
        let list = Command::new("list").about("List nodes or namespaces").subcommand_required(true).subcommands([
            Command::new("nodes").about("The nodes that a relay, or a node by itself, answers for"),
            Command::new("namespaces").about("The namespaces of the last hour's flows"),
        ]);
        let watch = Command::new("watch")
            .about("Watch peers")
            .subcommand_required(true)
            .subcommand(Command::new("peers").about("The nodes that serve flows, as they come and go").hide(true));
        let events = |name, about| {
            let selected = ["all", "follow", "first", "last", "since", "until"];
            let args = FILTERS.into_iter().map(filter).chain([
                flag("all", "All events that the server has"),
                flag("follow", "Each event as it comes").short('f'),
            ]);
            let args = args.filter(|arg| selected.contains(&arg.get_id().as_str()));
            Command::new(name).about(about).args(args.map(|arg| arg.help_heading("Selection")).collect::<Vec<_>>())
        };
        command
            .args(output.map(|arg| arg.help_heading("Output")))
            .args(server.map(|arg| arg.help_heading("Server")))
            .subcommands([
                Command::new("status").about("How many flows the server has, and since when"),
                list,
                events("agent-events", "Print events of a Cilium agent"),
                events("debug-events", "Print events of debugging of a Cilium agent"),
                watch.hide(true),
            ])
            .args_conflicts_with_subcommands(false)
            .disable_help_subcommand(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ObserveArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (question, inner) = match matches.subcommand() {
            Some(("status", inner)) => (Question::Status, inner),
            Some(("list", inner)) if inner.subcommand_name() == Some("nodes") => (Question::Nodes, inner),
            Some(("list", inner)) => (Question::Namespaces, inner),
            Some(("watch", inner)) => (Question::Peers, inner),
            Some(("agent-events", inner)) => (Question::AgentEvents, inner),
            Some(("debug-events", inner)) => (Question::DebugEvents, inner),
            _ => (Question::Flows, matches),
        };
        // The innermost has the values of the global flags.
        let deepest = inner.subcommand().map_or(inner, |(_, inner)| inner);
        let is = |name| inner.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
        let text = |name| deepest.try_get_one::<String>(name).ok().flatten().cloned();
        let path = |name| deepest.try_get_one::<PathBuf>(name).ok().flatten().cloned();
        let texts = |name| -> Vec<String> {
            inner.try_get_many::<String>(name).ok().flatten().map(|all| all.cloned().collect()).unwrap_or_default()
        };
        let number = |name| inner.try_get_many::<u64>(name).ok().flatten().and_then(Iterator::last);
        let is_global = |name| deepest.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
        let options = Options {
            filters: filters(matches),
            allowlist: texts("allowlist"),
            denylist: texts("denylist"),
            first: number("first").copied().unwrap_or(0),
            last: number("last").copied().unwrap_or(0),
            all: is("all"),
            follow: is("follow"),
            since: texts("since").pop(),
            until: texts("until").pop(),
            output: text("output").unwrap_or_default(),
            time_format: text("time-format").unwrap_or_default(),
            numeric: is("numeric"),
            ip_translation: is("ip-translation"),
            print_node_name: is_global("print-node-name"),
            print_policy_names: is_global("print-policy-names"),
            field_mask: texts("field-mask"),
            default_masks: is("use-default-field-masks"),
            input_file: matches.get_one::<PathBuf>("input-file").cloned(),
            print_raw_filters: is("print-raw-filters"),
            debug: is_global("debug"),
            color: false,
        };
        Ok(Self {
            question,
            options,
            server: text("server"),
            color: text("color").unwrap_or_default(),
            tls: is_global("tls"),
            allow_insecure: is_global("tls-allow-insecure"),
            ca: path("tls-ca-cert-files"),
            certificate: path("tls-client-cert-file"),
            key: path("tls-client-key-file"),
            server_name: text("tls-server-name"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The filters in the order in which they were typed.
fn filters(matches: &ArgMatches) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, _, value_name, _) in FILTERS.iter().filter(|(name, ..)| !SELECTORS.contains(name)) {
        let Some(places) = matches.indices_of(name) else { continue };
        if matches.value_source(name) != Some(clap::parser::ValueSource::CommandLine) {
            continue;
        }
        let values = matches.get_many::<String>(name).map(|values| values.cloned().collect::<Vec<_>>());
        let mut values = values.unwrap_or_default().into_iter();
        for place in places {
            let value = if value_name.is_empty() { "true".to_owned() } else { values.next().unwrap_or_default() };
            found.push((place, (*name).to_owned(), value));
        }
    }
    found.sort_by_key(|(place, ..)| *place);
    found.into_iter().map(|(_, name, value)| (name, value)).collect()
}

impl ObserveArgs {
    /// The server to ask; `variable` is `HUBBLE_SERVER`.
    ///
    /// # Errors
    /// If it is no address, or TLS lacks a file.
    pub fn address(&self, variable: Option<&str>) -> Result<ServerAddress, String> {
        let variable = variable.filter(|text| !text.is_empty());
        let text = self.server.as_deref().or(variable).unwrap_or(DEFAULT_SERVER);
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(format!("--server {text}: expected a path behind unix://"));
            }
            return Ok(ServerAddress::Unix(path.into()));
        }
        let (rest, tls) = match text.strip_prefix("tls://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("tcp://").unwrap_or(text), self.tls),
        };
        let expected = || format!("--server {text}: expected unix:///path, address:port or tls://address:port");
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.starts_with('[') => {
                (host, port.parse().map_err(|_| expected())?)
            }
            _ => (rest, DEFAULT_PORT),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(expected());
        }
        let tls = if tls { Some(self.files()?) } else { None };
        Ok(ServerAddress::Tcp { host, port, tls })
    }

    fn files(&self) -> Result<ClientTls, String> {
        if self.ca.is_none() && !self.allow_insecure {
            return Err(
                "TLS needs --tls-ca-cert-files: the authorities that the server's certificate is checked by; with \
                 --tls-allow-insecure it is not checked"
                    .into(),
            );
        }
        let ca = self.ca.clone().filter(|_| !self.allow_insecure);
        let own = self.certificate.clone().zip(self.key.clone());
        Ok(ClientTls { ca, own, server_name: self.server_name.clone() })
    }
}
