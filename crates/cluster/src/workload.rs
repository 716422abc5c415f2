//! Finds the workload that runs a pod: the hubble-contract §5.8.
//!
//! Only the pod itself is looked at, never its owner's owner; the Deployment behind a ReplicaSet
//! and the `CronJob` behind a Job are recognised by how Kubernetes names them.

use webb_index::Workload;

use super::types::ObjectMeta;

/// The workload; none for pods that nothing generated (bare and static pods).
pub(super) fn of(pod: &ObjectMeta) -> Option<Workload> {
    pod.generate_name.as_ref().filter(|name| !name.is_empty())?;
    let owner = pod.owner_references.iter().flatten().flatten().find(|owner| owner.controller == Some(true))?;
    let label = |key: &str| pod.labels.as_ref()?.texts.get(key).map(String::as_str);
    let (kind, name) = match owner.kind.as_str() {
        "ReplicaSet" => match deployment(&owner.name, label("pod-template-hash")) {
            Some(name) => ("Deployment", name),
            None => ("ReplicaSet", owner.name.as_str()),
        },
        "ReplicationController" => match label("deploymentconfig") {
            Some(name) => ("DeploymentConfig", name),
            None => ("ReplicationController", owner.name.as_str()),
        },
        "Job" => match cron_job(&owner.name) {
            Some(name) => ("CronJob", name),
            None => ("Job", owner.name.as_str()),
        },
        other => (other, owner.name.as_str()),
    };
    Some(Workload { name: name.to_owned(), kind: kind.to_owned() })
}

/// Readable name of the rule that leads from a pod to its workload.
pub(super) fn rule(workload: Option<&Workload>) -> &'static str {
    match workload.map(|workload| workload.kind.as_str()) {
        None => "none: nothing generated its name, or no controller owns it",
        Some("Deployment") => "its ReplicaSet, whose name ends in the pod's label pod-template-hash",
        Some("DeploymentConfig") => "the label deploymentconfig of a ReplicationController's pod",
        Some("CronJob") => "its Job, whose name ends in a time",
        Some(_) => "its controller",
    }
}

/// `name-<hash>` without the hash that is the pod's label.
fn deployment<'a>(replica_set: &'a str, hash: Option<&str>) -> Option<&'a str> {
    let hash = hash.filter(|hash| !hash.is_empty())?;
    replica_set.strip_suffix(hash)?.strip_suffix('-').filter(|name| !name.is_empty())
}

/// `name-<minutes since 1970>` (8 digits, more in older versions of Kubernetes) without the number.
fn cron_job(job: &str) -> Option<&str> {
    let (name, digits) = job.rsplit_once('-')?;
    let is_time = (8..=10).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::OwnerReference;

    fn workload(kind: &str, name: &str, label: Option<(&str, &str)>) -> String {
        let owner =
            |kind: &str, name: &str, controller| OwnerReference { kind: kind.into(), name: name.into(), controller };
        let pod = ObjectMeta {
            generate_name: Some("x-".into()),
            owner_references: Some(vec![Some(owner("Bystander", "none", None)), Some(owner(kind, name, Some(true)))]),
            labels: Some(
                label.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>().into(),
            ),
            ..ObjectMeta::default()
        };
        of(&pod).map_or_else(String::new, |workload| format!("{} {}", workload.kind, workload.name))
    }

    /// Each row of the table in the hubble-contract §5.8, and the pods that just miss it.
    #[test]
    fn the_contracts_table() {
        let hash = Some(("pod-template-hash", "5d4f8c7b9"));
        assert_eq!(workload("ReplicaSet", "deathstar-5d4f8c7b9", hash), "Deployment deathstar");
        assert_eq!(workload("ReplicaSet", "deathstar-aaaaaaaaa", hash), "ReplicaSet deathstar-aaaaaaaaa");
        assert_eq!(workload("ReplicaSet", "deathstar-5d4f8c7b9", None), "ReplicaSet deathstar-5d4f8c7b9");
        let empty = Some(("pod-template-hash", ""));
        assert_eq!(workload("ReplicaSet", "deathstar-", empty), "ReplicaSet deathstar-");
        assert_eq!(
            workload("ReplicationController", "web-1", Some(("deploymentconfig", "web"))),
            "DeploymentConfig web"
        );
        assert_eq!(workload("ReplicationController", "web-1", None), "ReplicationController web-1");
        assert_eq!(workload("Job", "backup-28945620", None), "CronJob backup");
        assert_eq!(workload("Job", "backup-1234567890", None), "CronJob backup");
        assert_eq!(workload("Job", "backup-1234567", None), "Job backup-1234567");
        assert_eq!(workload("Job", "backup-12345678901", None), "Job backup-12345678901");
        assert_eq!(workload("Job", "backup-2894562a", None), "Job backup-2894562a");
        assert_eq!(workload("Job", "backup", None), "Job backup");
        assert_eq!(workload("DaemonSet", "agent", None), "DaemonSet agent");
        assert_eq!(workload("Rollout", "green", None), "Rollout green");
    }

    /// A static pod (owned by its node, no generateName) and a bare pod have no workload.
    #[test]
    fn bare_pods_have_none() {
        assert!(of(&ObjectMeta::default()).is_none());
        let owner = OwnerReference { kind: "Node".into(), controller: Some(true), ..OwnerReference::default() };
        let fixed = ObjectMeta { owner_references: Some(vec![Some(owner)]), ..ObjectMeta::default() };
        assert!(of(&fixed).is_none());
        assert!(of(&ObjectMeta { generate_name: Some("x-".into()), ..ObjectMeta::default() }).is_none());
    }
}
