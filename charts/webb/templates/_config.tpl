{{- /* The agent's configuration: what the values decide, and webb.config. */ -}}
{{- define "webb.decided" -}}
{{- $v := include "webb.values" . | fromJson -}}
metrics_config: /etc/webb/metrics/dynamic-metrics.yaml
metrics_listen: "[::]:{{ include "webb.metricsPort" . }}"
open_metrics: {{ $v.hubble.metrics.enableOpenMetrics }}
admin_listen: 127.0.0.1:{{ int $v.webb.admin.port }}
cluster_name: {{ $v.cluster.name | quote }}
cluster_source: kubernetes
{{- if $v.prometheus.enabled }}
agent_metrics:
  listen: "[::]:{{ int $v.prometheus.port }}"
  compat: {{ $v.webb.agentMetrics.compat | quote }}
  metrics: {{ splitList " " (include "webb.agentToggles" (dict "root" . "fits" true)) | compact | toJson }}
  all_maps: {{ $v.webb.agentMetrics.allMaps }}
{{- end }}
{{- if include "webb.namesRelay" . }}
cluster_relay: "https://{{ include "webb.namesRelayHost" . }}:{{ int $v.webb.namesRelay.port }}"
cluster_relay_tls:
  ca: /etc/webb/names-relay-tls/ca.crt
  certificate: /etc/webb/names-relay-tls/client.crt
  key: /etc/webb/names-relay-tls/client.key
{{- end }}
{{- with include "webb.healthPort" . }}
health:
  listen: "[::]:{{ . }}"
{{- end }}
{{- with $v.webb.clusters }}
clusters:
  {{- range . }}
  - name: {{ .name | quote }}
    kubeconfig: /etc/webb/clusters/{{ .name }}
  {{- end }}
{{- end }}
{{- if or $v.webb.zones.cidrs (int $v.webb.zones.overhead) }}
zones:
  cidrs: {{ $v.webb.zones.cidrs | toJson }}
  overhead: {{ int $v.webb.zones.overhead }}
{{- end }}
{{- if or $v.webb.outputs.otlp $v.webb.outputs.kafka }}
outputs_config: /etc/webb/outputs-config/outputs.yaml
{{- end }}
{{- if $v.webb.handover }}
handover: true
handover_dir: /run/webb/bpf
{{- end }}
{{- if include "webb.observer" . }}
observer:
  enabled: true
  listen:
    - {{ printf "unix://%s" $v.hubble.socketPath | quote }}
    {{- with include "webb.flowAddress" . }}
    - {{ . | quote }}
    {{- end }}
  {{- with $v.hubble.eventBufferCapacity }}
  flows: {{ int . }}
  {{- end }}
{{- end }}
{{- if include "webb.flowTls" . }}
observer_tls:
  certificate: /etc/webb/observer-tls/server.crt
  key: /etc/webb/observer-tls/server.key
  client_ca: /etc/webb/observer-tls/client-ca.crt
{{- end }}
{{- if include "webb.export" . }}
{{- $file := $v.hubble.export.static }}
export:
  {{- with include "webb.exportDirectory" . }}
  directory: {{ . | quote }}
  {{- end }}
  {{- if $v.hubble.export.dynamic.enabled }}
  config: /etc/webb/flowlogs/flowlogs.yaml
  {{- end }}
  {{- if $file.enabled }}
  file_path: {{ $file.filePath | quote }}
  file_max_size_mb: {{ int $file.fileMaxSizeMb }}
  file_max_backups: {{ int $file.fileMaxBackups }}
  file_compress: {{ $file.fileCompress }}
  allow_list: {{ $file.allowList | toJson }}
  deny_list: {{ $file.denyList | toJson }}
  field_mask: {{ $file.fieldMask | toJson }}
  field_aggregate: {{ $file.fieldAggregate | toJson }}
  aggregation_interval: {{ $file.aggregationInterval | quote }}
  {{- end }}
{{- end }}
{{- if $v.hubble.redact.enabled }}
{{- $http := $v.hubble.redact.http }}
l7:
  redact: true
  redact_url_query: {{ $http.urlQuery }}
  redact_user_info: {{ $http.userInfo }}
  redact_headers_allow: {{ $http.headers.allow | toJson }}
  redact_headers_deny: {{ $http.headers.deny | toJson }}
{{- end }}
{{- if $v.hubble.metrics.tls.enabled }}
metrics_tls:
  certificate: /etc/webb/tls/server.crt
  key: /etc/webb/tls/server.key
  {{- if $v.hubble.metrics.tls.server.mtls.enabled }}
  client_ca: /etc/webb/tls/client-ca.crt
  {{- end }}
{{- end }}
{{- end }}

{{- define "webb.configuration" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $all := include "webb.decided" . | fromYaml -}}
{{- include "webb.overlay" (dict "base" $all "over" $v.webb.config "path" "config.") -}}
{{- toYaml $all -}}
{{- end }}
