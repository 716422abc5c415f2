{{- /* The names relay: replicas of `webb names`, which agents ask for the pods of other nodes. */ -}}

{{- /* Name of the Deployment, its Service, its account and its roles; empty where there is no relay. */ -}}
{{- define "webb.namesRelay" -}}
{{- if (include "webb.values" . | fromJson).webb.namesRelay.enabled -}}{{ include "webb.name" . }}-names{{- end -}}
{{- end }}

{{- define "webb.namesRelayAccount" -}}
{{ include "webb.account" . }}-names
{{- end }}

{{- /* It must not select agents, nor the agents' selector these pods: so the name is another. */ -}}
{{- define "webb.namesRelaySelector" -}}
app.kubernetes.io/name: webb-names
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "webb.namesRelayPodLabels" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- toYaml (mergeOverwrite (deepCopy $v.commonLabels) $v.webb.namesRelay.podLabels (include "webb.namesRelaySelector" . | fromYaml)) -}}
{{- end }}

{{- /* Name of its Service in the cluster, which its certificate has. */ -}}
{{- define "webb.namesRelayHost" -}}
{{ include "webb.namesRelay" . }}.{{ include "webb.namespace" . }}.svc
{{- end }}

{{- /* Name of the Secret of a certificate. Input: root, of (server or client). */ -}}
{{- define "webb.namesRelaySecret" -}}
{{- $values := get (include "webb.values" .root | fromJson).webb.namesRelay.tls .of -}}
{{- $values.existingSecret | default (printf "%s-%s-certs" (include "webb.namesRelay" .root) .of) -}}
{{- end }}

{{- /* Not empty where prometheus-operator scrapes the relay: as it does the agents. */ -}}
{{- define "webb.namesRelayMonitored" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if and (include "webb.namesRelay" .) (or $v.webb.podMonitor.enabled (and $v.hubble.enabled $v.hubble.metrics.serviceMonitor.enabled)) -}}true{{- end -}}
{{- end }}

{{- /* Its configuration: what the values decide, and the keys of webb.config that it reads. */ -}}
{{- define "webb.namesRelayConfiguration" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $all := dict
    "names" (dict "listen" (printf "[::]:%d" (int $v.webb.namesRelay.port)))
    "names_tls" (dict
      "certificate" "/etc/webb/names-tls/server.crt"
      "key" "/etc/webb/names-tls/server.key"
      "client_ca" "/etc/webb/names-tls/client-ca.crt")
    "cluster_name" $v.cluster.name
    "metrics_listen" (printf "[::]:%d" (int $v.webb.namesRelay.metricsPort))
    "admin_listen" (printf "127.0.0.1:%d" (int $v.webb.admin.port)) -}}
{{- $more := pick $v.webb.config "log" "shutdown" "supervision" "privileges" -}}
{{- include "webb.overlay" (dict "base" $all "over" $more "path" "config.") -}}
{{- toYaml $all -}}
{{- end }}

{{- /* Values of the relay that do not go together. */ -}}
{{- define "webb.namesRelayConflicts" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if include "webb.namesRelay" . -}}
{{- $relay := $v.webb.namesRelay -}}
{{- if eq (int $relay.port) (int $relay.metricsPort) }}webb.namesRelay.port and webb.namesRelay.metricsPort are both {{ int $relay.port }}; each needs a port of its own in the relay's pod{{ "\n" }}{{- end -}}
{{- if has (int $v.webb.admin.port) (list (int $relay.port) (int $relay.metricsPort)) }}webb.admin.port is {{ int $v.webb.admin.port }}, and a port of webb.namesRelay as well; each needs a port of its own in the relay's pod{{ "\n" }}{{- end -}}
{{- range $key := list "cluster_relay" "cluster_relay_tls" -}}
{{- if hasKey $v.webb.config $key }}webb.config.{{ $key }} is decided by webb.namesRelay{{ "\n" }}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
