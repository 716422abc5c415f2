{{- /* The agent's configuration: what the values decide, and webb.config. */ -}}
{{- define "webb.decided" -}}
{{- $v := include "webb.values" . | fromYaml -}}
metrics_config: /etc/webb/metrics/dynamic-metrics.yaml
metrics_listen: "[::]:{{ include "webb.metricsPort" . }}"
open_metrics: {{ $v.hubble.metrics.enableOpenMetrics }}
admin_listen: 127.0.0.1:{{ int $v.webb.admin.port }}
cluster_name: {{ $v.cluster.name | quote }}
cluster_source: kubernetes
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
{{- $v := include "webb.values" . | fromYaml -}}
{{- $all := include "webb.decided" . | fromYaml -}}
{{- include "webb.overlay" (dict "base" $all "over" $v.webb.config "path" "config.") -}}
{{- toYaml $all -}}
{{- end }}
