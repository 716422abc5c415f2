//! The room of the compiler's tables.

use super::*;
use crate::policy::spec::{PeerSpec, RuleSpec, Selector};

fn subject(number: u32) -> Subject {
    let labels = Labels::from([("job".to_owned(), number.to_string())]);
    Subject { namespace: "jobs".into(), labels, ports: Vec::new(), vendor: false }
}

/// Pods that no other pod is like leave no rows behind, neither in the tables of pods nor in the
/// sets that a policy's peers match; the rows of those that stay keep their meaning.
#[test]
fn room_goes_with_pods() {
    const PODS: u32 = 20_000;
    let mut compiler = Compiler::default();
    let anyone = PeerSpec::Pods { namespaces: None, pods: Some(Selector::default()) };
    let rule = RuleSpec { peers: vec![anyone], ..RuleSpec::default() };
    let policy = PolicySpec {
        namespace: "jobs".into(),
        name: "all".into(),
        pods: Selector::default(),
        ingress: Some(vec![rule]),
        egress: None,
    };
    compiler.set_policies(vec![Arc::new(policy)]);
    let rows: Vec<u32> = (0..PODS).map(|number| compiler.subject(subject(number))).collect();
    compiler.policies();
    let kept = 70;
    for row in rows.iter().filter(|row| **row != rows[kept]) {
        compiler.release(*row);
    }
    let policies = compiler.policies().clone();
    assert_eq!((compiler.subjects.len(), policies.rows.len()), (kept + 2, kept + 2));
    assert!(compiler.rows.capacity() < 100, "{}", compiler.rows.capacity());
    let empty = policies.rows.iter().filter(|row| Arc::ptr_eq(row, &compiler.empty_row)).count();
    assert_eq!(empty, kept + 1, "rows without pods share one");
    let set = policies.sets.iter().find(|set| set.contains(rows[kept]) == Truth::Yes);
    assert_eq!(set.map(|set| set.certain.len()), Some(2));
    assert_eq!(policies.rows[rows[kept] as usize].ingress, [0]);
    assert_eq!(compiler.subject(subject(PODS)), 1, "the least row is used first");
    assert_eq!(compiler.subject(subject(u32::try_from(kept).unwrap())), rows[kept]);
    assert_eq!(compiler.policies().rows[1].ingress, [0]);
}
