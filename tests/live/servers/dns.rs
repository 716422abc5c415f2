//! DNS of dnsmasq, asked by dig: each name, type and code as often as its query log has it.

use std::collections::BTreeMap;

use super::{Server, client, counts, differences, equal, load, program, series};
use crate::harness::{Agent, Lab};
use crate::scrape::Scrape;

const METRICS: &str = "dns:query flow";

/// Lines of dig's batch file: addresses, both families, letter case, aliases, errors, answers that
/// do not fit and come by TCP, other types, with and without EDNS, over TCP and several on one
/// connection.
const QUESTIONS: &str = "\
web.test A
web.test AAAA
WEB.Test A +noedns
alias.test A
six.test AAAA
missing.test A
missing.test TXT
elsewhere.example A
long.test TXT +noedns +noignore
long.test TXT +bufsize=4096
long.test TXT +bufsize=512 +ignore
_sip._udp.test SRV
mail.test MX
web.test A +tcp +keepopen
missing.test A +tcp +keepopen
long.test TXT +tcp +keepopen
alias.test AAAA +tcp
web.test NS
web.test SOA +nocookie
";

/// Questions, in the words of the log.
fn questions(scrape: &Scrape) -> super::Counts {
    series(scrape, "hubble_dns_queries_total", &[], &["query", "qtypes"])
}

/// Answers.
fn answers(scrape: &Scrape) -> super::Counts {
    series(scrape, "hubble_dns_responses_total", &[], &["query", "qtypes", "rcode"])
}

/// The questions of dnsmasq's log, and its answers. Each line has the question's number; it is
/// followed by what was found for it.
fn read(lines: &[String]) -> (super::Counts, super::Counts) {
    let mut all: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for line in lines {
        let Some((process, line)) = line.split_once("]: ") else { continue };
        let words: Vec<&str> = line.split(' ').collect();
        let Some(question) = words.get(2) else { continue };
        // Each connection has a process of its own, with numbers of its own.
        let key = format!("{process} {} {}", words[0], words[1]);
        if let Some(kind) = question.strip_prefix("query[").and_then(|rest| rest.strip_suffix("]")) {
            all.insert(key, (format!("{}. {kind}", words[3].to_lowercase()), "No Error"));
        } else if let Some((_, code)) = all.get_mut(&key) {
            if line.contains(" is NXDOMAIN") {
                *code = "Non-Existent Domain";
            } else if line.contains(" is REFUSED") {
                *code = "Query Refused";
            }
        }
    }
    let questions = counts(all.values().map(|(question, _)| question.clone()));
    (questions, counts(all.into_values().map(|(question, code)| format!("{question} {code}"))))
}

/// dnsmasq and dig, over UDP and TCP, IPv4 and IPv6.
#[test]
fn dnsmasq() {
    let Some(lab) = Lab::up() else { return };
    let (Some(dnsmasq), Some(dig)) = (program("dnsmasq"), program("dig")) else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let log = lab.dir.path().join("dnsmasq.log");
    let long = format!(" --txt-record=long.test,{}", "x".repeat(60)).repeat(25);
    let words = format!(
        "{} --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= --port=53 \
         --log-facility={} --log-queries=extra --local=/test/ --address=/web.test/10.1.2.3 --address=/web.test/fd00::3 \
         --host-record=six.test,fd00::6 --cname=alias.test,six.test --mx-host=mail.test,web.test \
         --srv-host=_sip._udp.test,web.test,5060 --address=/many.test/10.9.9.9 --listen-address=10.244.1.11 \
         --listen-address=fd00:10:244:1::11 --bind-interfaces{long}",
        dnsmasq.display(),
        log.display()
    );
    let server = Server::start(&lab, "deathstar-a", &words, "dnsmasq.log", &["udp:53", "tcp:53"]);
    let many = (0..50).map(|number| format!("n{number}.many.test A\n")).collect::<Vec<_>>().concat();
    let file = lab.file("questions", &format!("{QUESTIONS}{many}").repeat(load(3)));
    for address in ["10.244.1.11", "fd00:10:244:1::11"] {
        client(&lab, "tiefighter", &dig, &format!("@{address} +short +tries=1 +time=20 -f {}", file.display()));
    }
    let least = 2 * load(3) * (QUESTIONS.lines().count() + 50);
    let lines = server.lines(2 * least);
    let (asked, answered) = read(&lines);
    // Those that were asked again over TCP are more.
    assert!(asked.values().sum::<u64>() > least as u64, "questions in the log\n{lines:#?}");
    let scrape = equal(&mut agent, &answered, answers);
    differences(&asked, &questions(&scrape)).unwrap();
}
