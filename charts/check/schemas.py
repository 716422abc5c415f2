"""Each object against the schemas of the oldest and the newest Kubernetes, unknown fields included."""

import fnmatch

import kubernetes_validate

from render import case, cases, objects

VERSIONS = "1.25", "1.37"
# API versions that the chart writes only where the server has them, with the first Kubernetes that does.
SINCE = {"flowcontrol.apiserver.k8s.io/v1": "1.29"}

# Fields of kinds that Kubernetes does not define, as their own API has them; * is one step. Only what the chart may
# write is listed, so a misspelt field is found.
RELABELING = ("action", "replacement", "regex", "separator", "modulus", "targetLabel", "sourceLabels/*")
SCRAPE = ("port", "path", "interval", "scrapeTimeout", "honorLabels", "scheme", "tlsConfig/serverName", "tlsConfig/insecureSkipVerify",
          *(f"relabelings/*/{field}" for field in RELABELING), *(f"metricRelabelings/*/{field}" for field in RELABELING))
FOUND = ("selector/matchLabels/*", "namespaceSelector/matchNames/*", "jobLabel", "targetLabels/*")
CUSTOM = {
    "monitoring.coreos.com/v1 ServiceMonitor":
        [f"spec/{field}" for field in FOUND] + [f"spec/endpoints/*/{field}" for field in SCRAPE],
    "monitoring.coreos.com/v1 PodMonitor":
        [f"spec/{field}" for field in FOUND] + [f"spec/podMetricsEndpoints/*/{field}" for field in SCRAPE],
    "monitoring.coreos.com/v1 PrometheusRule":
        ["spec/groups/*/name", *(f"spec/groups/*/rules/*/{field}" for field in
                                 ("alert", "record", "expr", "for", "labels/*", "annotations/*"))],
    "cert-manager.io/v1 Certificate":
        ["spec/secretName", "spec/commonName", "spec/dnsNames/*", "spec/ipAddresses/*", "spec/duration",
         "spec/usages/*", "spec/issuerRef/group", "spec/issuerRef/kind", "spec/issuerRef/name"],
    "security.openshift.io/v1 SecurityContextConstraints":
        ["allow*", "readOnlyRootFilesystem", "requiredDropCapabilities/*", "defaultAddCapabilities",
         "allowedCapabilities/*", "runAsUser/type", "seLinuxContext/type", "fsGroup/type", "supplementalGroups/type",
         "seccompProfiles/*", "volumes/*", "users/*", "groups"],
}


def called(o):
    return f"{o['kind']}/{o['metadata']['name']}"


def fields(value, path=""):
    """Paths of everything in an object that is not a block."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from fields(below, f"{path}/{str(key).replace('/', '.')}" if path else key)
    elif isinstance(value, list) and value:
        for number, below in enumerate(value):
            yield from fields(below, f"{path}/{number}")
    else:
        yield path


def fits(path, patterns):
    steps = path.split("/")
    return any(len(steps) == len(pattern.split("/")) and all(map(fnmatch.fnmatchcase, steps, pattern.split("/")))
               for pattern in patterns)


def problems(o):
    kind = f"{o['apiVersion']} {o['kind']}"
    if kind in CUSTOM:
        rest = {key: value for key, value in o.items() if key not in ("apiVersion", "kind", "metadata")}
        return [f"{called(o)}: {path} is no field" for path in fields(rest) if not fits(path, CUSTOM[kind])]
    found = []
    for version in (SINCE.get(o["apiVersion"], VERSIONS[0]), VERSIONS[1]):
        try:
            kubernetes_validate.validate(o, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{called(o)} in Kubernetes {version}: {str(error)[:300]}")
    return found


def check(report):
    for name in cases():
        made = objects(case(name))
        report(f"schemas of {name}", [problem for o in made for problem in problems(o)])
    # The check itself: a slip in a field must be found.
    daemon = next(o for o in made if o["kind"] == "DaemonSet")
    daemon["spec"]["template"]["spec"]["hostNetwrk"] = True
    report("a misspelt field is found", [] if problems(daemon) else ["hostNetwrk passed"])
