{{- /* What monitors say of an endpoint below its port. /metrics has one certificate on all ports of an agent.
    Input: root, monitor, and plain for an endpoint without TLS. */ -}}
{{- define "webb.monitorEndpoint" -}}
{{- $metrics := (include "webb.values" .root | fromJson).hubble.metrics -}}
{{- $encrypted := and $metrics.tls.enabled (not .plain) -}}
path: /metrics
interval: {{ .monitor.interval }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
honorLabels: true
scheme: {{ ternary "https" "http" $encrypted }}
{{- if $encrypted }}
tlsConfig:
  {{- toYaml (mergeOverwrite (dict "serverName" (include "webb.serverName" .root)) $metrics.serviceMonitor.tlsConfig) | nindent 2 }}
{{- end }}
{{- with .monitor.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
