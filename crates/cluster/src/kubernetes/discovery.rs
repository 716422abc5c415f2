//! Reads the discovery documents of the API server, in their three forms.
//!
//! One document names all groups, versions and resources (`apidiscovery.k8s.io` v2, and v2beta1
//! before 1.30). Servers older than 1.26 name groups and versions only, and each version has a
//! document of its own. None can be watched; an ETag makes asking again cheap.

use serde::Deserialize;

use super::error::ApiError;
use super::link::Link;
use super::{WatchTimings, lines};

/// Path of all groups but the core one.
const PATH: &str = "/apis";

/// The forms that are read, the best first.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// A version of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) group: String,
    pub(super) name: String,
    /// The resources, if they are known: those of an aggregated server that is away are not.
    pub(super) resources: Option<Vec<Served>>,
}

/// A resource of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) plural: String,
    pub(super) kind: String,
    pub(super) namespaced: bool,
}

/// Requests the server's discovery; none if that has not changed. Where each version has a document
/// of its own, only those of the groups that are `wanted` are read. Versions are in the server's
/// order: the preferred one of a group comes first.
pub(super) async fn ask(
    link: &Link<'_>,
    etag: &mut Option<String>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<Vec<Version>>, ApiError> {
    let WatchTimings { answer_timeout, .. } = *link.timings;
    let Some((response, tag)) = link.get_if_changed(PATH, ACCEPT, etag.as_deref()).await? else { return Ok(None) };
    let versions = match read(&lines::read_body(response.into_body(), lines::MAX_ANSWER_BYTES, answer_timeout).await?)?
    {
        Document::Whole(versions) => versions,
        Document::Names(names) => {
            let mut versions = Vec::new();
            for (group, name) in names.into_iter().filter(|(group, _)| wanted(group)) {
                let resources = match link.get(&format!("{PATH}/{group}/{name}"), super::resource::JSON).await {
                    Ok(response) => Some(read_version(
                        &lines::read_body(response.into_body(), lines::MAX_ANSWER_BYTES, answer_timeout).await?,
                    )?),
                    // An aggregated server that is away; the others are there all the same.
                    Err(ApiError::Failed { .. }) => None,
                    // Gone since the list was made.
                    Err(ApiError::Rejected { status: 404, .. }) => continue,
                    Err(error) => return Err(error),
                };
                versions.push(Version { group, name, resources });
            }
            versions
        }
    };
    *etag = tag;
    Ok(Some(versions))
}

/// Possible first answers.
#[derive(Debug, PartialEq, Eq)]
enum Document {
    Whole(Vec<Version>),
    /// Groups with their versions.
    Names(Vec<(String, String)>),
}

/// `APIGroupDiscoveryList` and `APIGroupList`, as far as they are read.
#[derive(Deserialize)]
struct RawDocument {
    kind: String,
    #[serde(default)]
    items: Vec<RawGroup>,
    #[serde(default)]
    groups: Vec<RawOldGroup>,
}

#[derive(Deserialize)]
struct RawGroup {
    metadata: RawName,
    #[serde(default)]
    versions: Vec<RawVersion>,
}

#[derive(Deserialize)]
struct RawName {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct RawVersion {
    version: String,
    resources: Option<Vec<RawResource>>,
    freshness: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResource {
    resource: String,
    response_kind: Option<RawKind>,
    scope: Option<String>,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct RawKind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct RawOldGroup {
    name: String,
    #[serde(default)]
    versions: Vec<RawOldVersion>,
}

#[derive(Deserialize)]
struct RawOldVersion {
    version: String,
}

/// `APIResourceList`.
#[derive(Deserialize)]
struct RawOldResources {
    #[serde(default)]
    resources: Vec<RawOldResource>,
}

#[derive(Deserialize)]
struct RawOldResource {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::Malformed(format!("what the server serves: {error}"))
}

/// True if objects of a resource can be listed: reviews and the like can only be created.
fn is_listed(verbs: &[String]) -> bool {
    verbs.iter().any(|verb| verb == "list")
}

fn read(body: &[u8]) -> Result<Document, ApiError> {
    let document: RawDocument = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    match document.kind.as_str() {
        "APIGroupDiscoveryList" => Ok(Document::Whole(document.items.into_iter().flat_map(versions).collect())),
        "APIGroupList" => {
            let names = document.groups.into_iter().flat_map(|RawOldGroup { name, versions }| {
                versions.into_iter().map(move |RawOldVersion { version }| (name.clone(), version))
            });
            Ok(Document::Names(names.collect()))
        }
        other => Err(ApiError::Malformed(format!("what the server serves is of the kind {other:?}"))),
    }
}

fn versions(RawGroup { metadata, versions }: RawGroup) -> impl Iterator<Item = Version> {
    versions.into_iter().map(move |RawVersion { version, resources, freshness }| {
        let served =
            resources.into_iter().flatten().filter(|resource| is_listed(&resource.verbs)).map(|resource| Served {
                plural: resource.resource,
                kind: resource.response_kind.map(|kind| kind.kind).unwrap_or_default(),
                namespaced: resource.scope.as_deref() == Some("Namespaced"),
            });
        let stale = freshness.as_deref() == Some("Stale");
        Version { group: metadata.name.clone(), name: version, resources: (!stale).then(|| served.collect()) }
    })
}

fn read_version(body: &[u8]) -> Result<Vec<Served>, ApiError> {
    let RawOldResources { resources } = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    // Parts of resources, such as `pods/status`, are in this list.
    let whole = resources.into_iter().filter(|resource| is_listed(&resource.verbs) && !resource.name.contains('/'));
    Ok(whole.map(|RawOldResource { name, kind, namespaced, .. }| Served { plural: name, kind, namespaced }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGGREGATED: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},
        "items":[
        {"metadata":{"name":"cilium.io","creationTimestamp":null},"versions":[
          {"version":"v2","freshness":"Current","resources":[
            {"resource":"ciliumnetworkpolicies","responseKind":{"group":"cilium.io","version":"v2",
             "kind":"CiliumNetworkPolicy"},"scope":"Namespaced","singularResource":"ciliumnetworkpolicy",
             "verbs":["get","list","watch"],"shortNames":["cnp"],
             "subresources":[{"subresource":"status","responseKind":{"group":"","version":"","kind":""},"verbs":["get"]}]},
            {"resource":"reviews","responseKind":{"group":"","version":"","kind":"Review"},"scope":"Cluster",
             "verbs":["create"]}]},
          {"version":"v2alpha1","freshness":"Current"}]},
        {"metadata":{"name":"projectcalico.org"},"versions":[{"version":"v3","freshness":"Stale","resources":[
            {"resource":"tiers","responseKind":{"kind":"Tier"},"scope":"Cluster","verbs":["list"]}]}]}]}"#;

    fn served(plural: &str, kind: &str, namespaced: bool) -> Served {
        Served { plural: plural.to_owned(), kind: kind.to_owned(), namespaced }
    }

    /// The document of all groups: what cannot be listed is left out, and what is stale is not
    /// known.
    #[test]
    fn aggregated_documents() {
        let Document::Whole(versions) = read(AGGREGATED.as_bytes()).unwrap() else { panic!() };
        let found: Vec<_> = versions.iter().map(|version| (version.group.as_str(), version.name.as_str())).collect();
        assert_eq!(found, [("cilium.io", "v2"), ("cilium.io", "v2alpha1"), ("projectcalico.org", "v3")]);
        let policies = served("ciliumnetworkpolicies", "CiliumNetworkPolicy", true);
        assert_eq!(versions[0].resources, Some(vec![policies]));
        assert_eq!((&versions[1].resources, &versions[2].resources), (&Some(vec![]), &None));
    }

    /// Older servers: groups with versions, and then the resources of a version.
    #[test]
    fn documents_of_versions() {
        let groups = br#"{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[
            {"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}"#;
        assert_eq!(read(groups).unwrap(), Document::Names(vec![("apps".to_owned(), "v1".to_owned())]));
        let resources = br#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apps/v1","resources":[
            {"name":"deployments","singularName":"","namespaced":true,"kind":"Deployment","verbs":["list","watch"]},
            {"name":"deployments/scale","singularName":"","namespaced":true,"kind":"Scale","verbs":["get","list"]}]}"#;
        assert_eq!(read_version(resources).unwrap(), [served("deployments", "Deployment", true)]);
        for garbage in ["", "{}", r#"{"kind":"Status"}"#, r#"{"kind":"APIGroupDiscoveryList","items":7}"#] {
            assert!(matches!(read(garbage.as_bytes()), Err(ApiError::Malformed(_))), "{garbage}");
        }
    }
}
