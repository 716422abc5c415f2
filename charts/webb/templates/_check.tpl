{{- /*
What is wrong with the values, a line each, so that one message has all of it. Types and enumerations are for
values.schema.json; here are the keys that mean nothing, and what does not go together.
*/ -}}

{{- /* Paths of all keys of a map, a line each; a map without keys is free below. Input: values, path. */ -}}
{{- define "webb.paths" -}}
{{- $path := .path -}}
{{- range $key, $value := .values -}}
{{- $here := printf "%s%s" $path $key -}}
{{- if not (kindIs "map" $value) }}{{ $here }}{{ "\n" }}
{{- else if not $value }}{{ $here }}.*{{ "\n" }}
{{- else if has $here (list "nodeSelector" "operator.nodeSelector" "operator.resources" "webb.seccompProfile" "webb.seLinuxOptions" "webb.updateStrategy" "webb.resources" "webb.namesRelay.nodeSelector") }}{{ $here }}.*{{ "\n" }}
{{- else }}{{ include "webb.paths" (dict "values" $value "path" (printf "%s." $here)) }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Paths that this chart knows: its own, and those of Cilium's that it passes over inside of its blocks. */ -}}
{{- define "webb.known" -}}
{{- include "webb.paths" (dict "values" (.Files.Get "files/defaults.yaml" | fromYaml) "path" "") -}}
{{- range splitList "\n" (.Files.Get "files/cilium-passed.txt") -}}
{{- if and . (not (hasPrefix "#" .)) }}{{ . }}{{ "\n" }}{{- end -}}
{{- end -}}
{{- end }}

{{- /* Keys of a block that mean nothing. Input: values, path, known, and all that is known as one text, a line each,
    which is searched faster than the list. */ -}}
{{- define "webb.unknown" -}}
{{- $path := .path -}}{{- $known := .known -}}{{- $text := .text -}}
{{- range $key, $value := .values -}}
{{- $here := printf "%s%s" $path $key -}}
{{- $inner := contains (printf "\n%s." $here) $text -}}
{{- if or (contains (printf "\n%s\n" $here) $text) (contains (printf "\n%s.*\n" $here) $text) (and $inner (kindIs "invalid" $value)) -}}
{{- else if and $inner (kindIs "map" $value) -}}
{{- include "webb.unknown" (dict "values" $value "path" (printf "%s." $here) "known" $known "text" $text) -}}
{{- else if $inner }}{{ $here }} is a block of keys, not a single value{{ "\n" }}
{{- else -}}
{{- $meant := include "webb.suggestion" (dict "path" $here "known" $known) -}}
{{- $here }} is not known{{ if $meant }}; did you mean {{ $meant }}?{{ end }}{{ "\n" }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Top-level keys that are passed over, a line each. Input: root, known. */ -}}
{{- define "webb.passed" -}}
{{- $cilium := splitList "\n" (.root.Files.Get "files/cilium-keys.txt" | trim) -}}
{{- $known := .known -}}
{{- range $key, $value := .root.Values -}}
{{- if has $key (splitList "\n" (include "webb.tops" (dict "known" $known))) -}}
{{- else if has $key $cilium }}{{ $key }}{{ "\n" }}
{{- else -}}
{{- $meant := include "webb.suggestion" (dict "path" $key "known" (concat (splitList "\n" (include "webb.tops" (dict "known" $known))) $cilium)) -}}
{{- if has $meant $cilium }}{{ $key }} (not a key of Cilium's either; is it {{ $meant }}?){{ "\n" }}
{{- else if not $meant }}{{ $key }}{{ "\n" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "webb.tops" -}}
{{- $tops := list -}}
{{- range .known -}}{{- $tops = append $tops (first (splitList "." .)) -}}{{- end -}}
{{- join "\n" (without (uniq $tops) "") -}}
{{- end }}

{{- /* Keys that mean nothing: those inside of the blocks that are read, and slips of the blocks' own names. */ -}}
{{- define "webb.slips" -}}
{{- $root := .root -}}{{- $known := .known -}}
{{- $tops := splitList "\n" (include "webb.tops" (dict "known" $known)) -}}
{{- $cilium := splitList "\n" ($root.Files.Get "files/cilium-keys.txt" | trim) -}}
{{- $ours := dict -}}
{{- range $key, $value := $root.Values -}}
{{- if has $key $tops -}}
{{- $_ := set $ours $key $value -}}
{{- else if not (has $key $cilium) -}}
{{- if has (include "webb.suggestion" (dict "path" $key "known" (concat $tops $cilium))) $tops -}}
{{- $_ := set $ours $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $text := printf "\n%s\n" (join "\n" $known) -}}
{{- include "webb.unknown" (dict "values" $ours "path" "" "known" $known "text" $text) -}}
{{- end }}

{{- /* Values that do not go together. */ -}}
{{- define "webb.conflicts" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $ports := list (dict "name" (ternary "webb.metricsPort" "hubble.metrics.port" (or (not (empty $v.webb.metricsPort)) $v.webb.besideCilium)) "port" (int (include "webb.metricsPort" .))) (dict "name" "webb.admin.port" "port" (int $v.webb.admin.port)) -}}
{{- if $v.prometheus.enabled -}}{{- $ports = append $ports (dict "name" "prometheus.port" "port" (int $v.prometheus.port)) -}}{{- end -}}
{{- with include "webb.flowPort" . -}}{{- $ports = append $ports (dict "name" "hubble.listenAddress" "port" (int .)) -}}{{- end -}}
{{- with include "webb.healthPort" . -}}{{- $ports = append $ports (dict "name" "healthPort" "port" (int .)) -}}{{- end -}}
{{- range $at, $one := $ports -}}{{- range slice $ports (int (add1 $at)) -}}
{{- if eq $one.port .port }}{{ $one.name }} and {{ .name }} are both {{ .port }}; each needs a port of its own on the node{{ "\n" }}{{- end -}}
{{- end -}}{{- end -}}
{{- $contexts := list "identity" "namespace" "pod" "pod-name" "ip" "reserved-identity" "workload" "workload-name" "app" "source_ip" "source_pod" "source_namespace" "source_workload" "source_workload_kind" "source_app" "source_service" "destination_ip" "destination_pod" "destination_namespace" "destination_workload" "destination_workload_kind" "destination_app" "destination_service" "traffic_direction" -}}
{{- range splitList " " (include "webb.metricsText" .) -}}
{{- if has (first (splitList "|" .)) $contexts }}hubble.metrics.enabled has the entry {{ . }}, which is a context and no metric; with --set, a comma inside of an entry is written \,{{ "\n" }}{{- end -}}
{{- end -}}
{{- range $key, $value := include "webb.decided" . | fromYaml -}}
{{- if and (hasKey $v.webb.config $key) (not (has $key (list "cluster_source" "handover" "health" "observer" "observer_tls" "export"))) }}webb.config.{{ $key }} is decided by other values: see {{ get (dict "metrics_config" "hubble.metrics.dynamic" "metrics_listen" "hubble.metrics.port" "open_metrics" "hubble.metrics.enableOpenMetrics" "admin_listen" "webb.admin.port" "cluster_name" "cluster.name" "handover_dir" "webb.handover" "metrics_tls" "hubble.metrics.tls" "agent_metrics" "prometheus and webb.agentMetrics" "clusters" "webb.clusters" "zones" "webb.zones" "outputs_config" "webb.outputs") $key }}{{ "\n" }}{{- end -}}
{{- end -}}
{{- if and (include "webb.healthPort" .) (hasKey ($v.webb.config.health | default dict) "listen") }}webb.config.health.listen is decided by other values: see healthPort{{ "\n" }}{{- end -}}
{{- if hasKey $v.webb.config "metrics" }}webb.config.metrics is decided by other values: see hubble.metrics.enabled{{ "\n" }}{{- end -}}
{{- $monitor := and $v.hubble.enabled $v.hubble.metrics.serviceMonitor.enabled -}}
{{- if and $monitor $v.webb.podMonitor.enabled }}hubble.metrics.serviceMonitor.enabled and webb.podMonitor.enabled would scrape each agent twice; choose one{{ "\n" }}{{- end -}}
{{- $agentMonitor := and $v.prometheus.enabled $v.prometheus.serviceMonitor.enabled -}}
{{- if and $agentMonitor $v.webb.podMonitor.enabled }}prometheus.serviceMonitor.enabled and webb.podMonitor.enabled would scrape each agent twice; choose one{{ "\n" }}{{- end -}}
{{- if and $v.prometheus.enabled $v.webb.besideCilium }}prometheus.enabled serves Cilium's agent metrics, and with webb.besideCilium Cilium's agent serves them: each sum over both would count twice; set prometheus.enabled to false for webb{{ "\n" }}{{- end -}}
{{- if and $v.prometheus.enabled $v.webb.agentMetrics.allMaps (ne (int $v.webb.runAsUser) 0) }}webb.agentMetrics.allMaps needs webb.runAsUser 0: SYS_ADMIN, by which other programs' maps are seen, is no file capability of the binary{{ "\n" }}{{- end -}}
{{- with $v.webb.outputs -}}
{{- if and (not .otlp) (not .kafka) (or .rollups .flows.enabled .secrets .spoolDirectory) }}webb.outputs changes nothing without webb.outputs.otlp or webb.outputs.kafka{{ "\n" }}{{- end -}}
{{- if and (not .flows.enabled) .flows.settings }}webb.outputs.flows.settings changes nothing without webb.outputs.flows.enabled{{ "\n" }}{{- end -}}
{{- $count := add (len (.otlp | default list)) (len (.kafka | default list)) -}}
{{- if gt (int $count) 8 }}webb.outputs.otlp and webb.outputs.kafka have {{ $count }} receivers; an agent has 8 at most{{ "\n" }}{{- end -}}
{{- $mounted := .secrets | default list -}}
{{- range $v.webb.extraVolumeMounts }}{{- $mounted = append $mounted (.mountPath | default "" | trimPrefix "/etc/webb/outputs/") -}}{{- end -}}
{{- $spool := .spoolDirectory | trimSuffix "/" -}}
{{- range $kind, $list := dict "otlp" .otlp "kafka" .kafka -}}
{{- range $list -}}
{{- $receiver := . -}}
{{- range $key := list "headers_directory" "tls.ca_file" "tls.cert_file" "tls.key_file" "sasl.directory" -}}
{{- $parts := splitList "." $key -}}
{{- $holder := ternary $receiver (get $receiver (first $parts) | default dict) (eq (len $parts) 1) -}}
{{- $path := get $holder (last $parts) | default "" -}}
{{- $secret := regexFind "^/etc/webb/outputs/[^/]+" $path | trimPrefix "/etc/webb/outputs/" -}}
{{- if and $secret (not (has $secret $mounted)) }}webb.outputs.{{ $kind }} has {{ $receiver.name }}, whose {{ $key }} is {{ $path }}; webb.outputs.secrets lacks {{ $secret }}{{ "\n" }}{{- end -}}
{{- end -}}
{{- $plain := and (eq $kind "otlp") (regexMatch "(?i)^http://" (.endpoint | default "")) (not (regexMatch "(?i)^http://(localhost|127\\.|169\\.254\\.|\\[::1\\]|\\[fe[89ab])" (.endpoint | default ""))) -}}
{{- if and $plain (not .insecure) (not (regexMatch "OTLP_(LOGS_)?INSECURE" (toJson $v.webb.extraEnv))) }}webb.outputs.otlp has {{ .name }}, whose endpoint is {{ .endpoint }}, which is not encrypted; it needs https, or insecure: true{{ "\n" }}{{- end -}}
{{- $directory := dig "spool" "directory" "" . -}}
{{- if and $directory (or (not $spool) (ne ($directory | trimSuffix "/") $spool)) }}webb.outputs.{{ $kind }} has {{ .name }}, whose spool.directory is {{ $directory }}; it must be webb.outputs.spoolDirectory{{ "\n" }}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $clusters := list -}}
{{- range $v.webb.clusters -}}
{{- if has .name $clusters }}webb.clusters has the name {{ .name }} twice{{ "\n" }}{{- end -}}
{{- if eq .name $v.cluster.name }}webb.clusters has {{ .name }}, which is cluster.name, this cluster's own{{ "\n" }}{{- end -}}
{{- $clusters = append $clusters .name -}}
{{- end -}}
{{- if and $v.webb.podMonitor.enabled (not $v.webb.hostPorts) }}webb.podMonitor.enabled needs a named port, and webb.hostPorts is false; use hubble.metrics.serviceMonitor{{ "\n" }}{{- end -}}
{{- include "webb.operatorConflicts" . -}}
{{- include "webb.namesRelayConflicts" . -}}
{{- include "webb.flowConflicts" . -}}
{{- $operatorMonitor := and (include "webb.operator" .) $v.operator.prometheus.serviceMonitor.enabled -}}
{{- if and (or $monitor $agentMonitor $operatorMonitor $v.webb.podMonitor.enabled $v.webb.prometheusRule.enabled) (not $v.prometheus.serviceMonitor.trustCRDsExist) (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}{{ if $monitor }}hubble.metrics.serviceMonitor{{ else if $agentMonitor }}prometheus.serviceMonitor{{ else if $operatorMonitor }}operator.prometheus.serviceMonitor{{ else if $v.webb.podMonitor.enabled }}webb.podMonitor{{ else }}webb.prometheusRule{{ end }}.enabled needs the kinds of prometheus-operator (monitoring.coreos.com/v1), which this API server does not have; install them first, or set prometheus.serviceMonitor.trustCRDsExist if they are there{{ "\n" }}{{- end -}}
{{- if and $v.webb.handover (ne (int $v.webb.runAsUser) 0) }}webb.handover needs webb.runAsUser 0: /sys/fs/bpf, where maps and programs are pinned, is root's{{ "\n" }}{{- end -}}
{{- $auto := $v.hubble.tls.auto -}}
{{- $server := $v.hubble.metrics.tls.server -}}
{{- if and $v.hubble.metrics.tls.enabled (not $server.existingSecret) (not $server.cert) $auto.enabled (eq $auto.method "certmanager") (not $auto.certManagerIssuerRef.name) }}hubble.tls.auto.method is certmanager, and hubble.tls.auto.certManagerIssuerRef.name says no issuer{{ "\n" }}{{- end -}}
{{- if ne (empty $server.cert) (empty $server.key) }}hubble.metrics.tls.server has only one of cert and key; a Secret needs both{{ "\n" }}{{- end -}}
{{- if and $server.mtls.enabled (not $v.hubble.metrics.tls.enabled) }}hubble.metrics.tls.server.mtls.enabled has no effect while hubble.metrics.tls.enabled is false{{ "\n" }}{{- end -}}
{{- if dig "prometheus" "enabled" false (.Values.proxy | default dict) }}proxy.prometheus was removed from Cilium; Envoy's metrics are envoy.prometheus there, and webb has none{{ "\n" }}{{- end -}}
{{- end }}

{{- /* Agents that are in the cluster already. Input: root, daemonSets (a list of objects). */ -}}
{{- define "webb.neighbours" -}}
{{- $v := include "webb.values" .root | fromJson -}}
{{- $own := printf "%s/%s" (include "webb.namespace" .root) (include "webb.name" .root) -}}
{{- range .daemonSets -}}
{{- $labels := dig "spec" "template" "metadata" "labels" dict . -}}
{{- $name := printf "%s/%s" .metadata.namespace .metadata.name -}}
{{- if eq $name $own -}}
{{- else if eq (get $labels "app.kubernetes.io/name") "webb" }}the DaemonSet {{ $name }} is a webb already; two would fight over the first place at each interface{{ "\n" }}
{{- else if and (eq (get $labels "k8s-app") "cilium") (not $v.webb.besideCilium) }}the DaemonSet {{ $name }} is Cilium's (k8s-app: cilium), and its Services would select webb's pods; set webb.besideCilium{{ "\n" }}
{{- end -}}
{{- end -}}
{{- end }}
