//! Cost of decoding a record, both lookups included, with 20,000 addresses known and visited at
//! random.
//!
//! `cargo bench --bench decode`

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use webb_decode::Decoder;
use webb_flow::abi::{Record, VERSION, kind};
use webb_flow::{Address, Flow, Reasons};
use webb_index::policy::Compiler;
use webb_index::policy::spec::{PeerSpec, PolicySpec, PortMatch, PortSpec, RuleSpec, Selector, Subject};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Index};
use zerocopy::IntoBytes;

const PODS: u32 = 20_000;
const RECORDS: usize = 65_536;

fn address(pod: u32) -> Address {
    Address::from(std::net::IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + pod)))
}

fn labels(app: u32) -> std::collections::BTreeMap<String, String> {
    [("app".to_owned(), format!("app-{app}"))].into()
}

/// 20,000 pods of 400 deployments in 20 namespaces; each namespace lets in its own pods on port 80
/// only.
fn index() -> Index {
    let mut compiler = Compiler::default();
    let pods: Vec<_> = (0..PODS)
        .map(|pod| {
            let namespace = format!("ns-{}", pod % 20);
            let spec = EndpointSpec {
                identity: 256 + pod % 400,
                namespace: namespace.clone(),
                pod_name: format!("pod-{pod}"),
                ..EndpointSpec::default()
            };
            let policy_subject =
                compiler.subject(Subject { namespace, labels: labels(pod % 400), ports: Vec::new(), vendor: false });
            (Endpoint { policy_subject, ..Endpoint::new(EndpointKind::Pod, pod < 110, &spec) }, vec![address(pod)])
        })
        .collect();
    let policies: Vec<_> = (0..20)
        .map(|namespace| PolicySpec {
            namespace: format!("ns-{namespace}"),
            name: "own".to_owned(),
            pods: Selector::default(),
            ingress: Some(vec![RuleSpec {
                peers: vec![PeerSpec::Pods { namespaces: None, pods: Some(Selector::default()) }],
                ports: vec![PortSpec { protocol: webb_flow::L4::Tcp, port: PortMatch::Range(80, 80) }],
                unknown: false,
            }]),
            egress: None,
        })
        .collect();
    Index::new(pods, compiler.compile(&policies))
}

/// Between a local pod and any pod, in either direction.
fn records(drops: bool) -> Vec<Record> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u32| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        u32::try_from((random >> 33) % u64::from(below)).unwrap_or(0)
    };
    (0..RECORDS)
        .map(|_| {
            let (local, any) = (address(next(110)).0, address(next(PODS)).0);
            let (source, destination) = if next(2) == 0 { (local, any) } else { (any, local) };
            Record {
                version: VERSION,
                kind: if drops { kind::DROP } else { kind::FLAGS },
                hook: if drops { 4 } else { u8::try_from(next(2)).unwrap_or(0) },
                length: 80,
                source,
                destination,
                source_port: 40_000,
                destination_port: if next(4) == 0 { 80 } else { 443 },
                family: 4,
                protocol: 6,
                tcp_flags: 0x12,
                packets: 1,
                bytes: 60,
                reason: 8,
                ..Record::default()
            }
        })
        .collect()
}

fn decode(criterion: &mut Criterion) {
    let index = index();
    let decoder = Decoder::new(Reasons::new([(8, "NETFILTER_DROP")]));
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, drops) in [("traces", false), ("policy_drops", true)] {
        let records = records(drops);
        // As the reader does it: into a batch that is used again.
        let (mut batch, mut flow) = (Vec::with_capacity(512), Flow::default());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for chunk in records.chunks(512) {
                    batch.clear();
                    for record in chunk {
                        if decoder.decode(black_box(record.as_bytes()), &index, &mut flow).is_ok() {
                            batch.push(flow);
                        }
                    }
                    black_box(&batch);
                }
            });
        });
    }
    let addresses: Vec<Address> = records(false).iter().map(|record| Address(record.source)).collect();
    group.bench_function("one_lookup", |bencher| {
        bencher.iter(|| {
            for &address in &addresses {
                black_box(index.find(black_box(address)));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
