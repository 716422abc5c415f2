{{- /* The operator: replicas of `webb operator`, which serve Cilium's operator metrics. */ -}}

{{- /* Name of the Deployment, its account, its roles and its Lease; empty where there is no operator. Metrics are all that
    it serves. */ -}}
{{- define "webb.operator" -}}
{{- $operator := (include "webb.values" . | fromJson).operator -}}
{{- if and $operator.enabled $operator.prometheus.enabled -}}{{ include "webb.name" . }}-operator{{- end -}}
{{- end }}

{{- define "webb.operatorAccount" -}}
{{ include "webb.account" . }}-operator
{{- end }}

{{- /* It must not select agents, nor the agents' selector these pods: so the name is another. */ -}}
{{- define "webb.operatorSelector" -}}
app.kubernetes.io/name: webb-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Labels of the pods. Cilium's label is the one that its dashboards ask for. */ -}}
{{- define "webb.operatorPodLabels" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $all := deepCopy $v.commonLabels -}}
{{- if not $v.webb.besideCilium -}}{{- $_ := set $all "io.cilium/app" "operator" -}}{{- end -}}
{{- toYaml (mergeOverwrite $all $v.operator.podLabels (include "webb.operatorSelector" . | fromYaml)) -}}
{{- end }}

{{- /* Name of the Service and the ServiceMonitor, empty if there is no Service: Cilium's, unless Cilium is there. */ -}}
{{- define "webb.operatorService" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $metrics := $v.operator.prometheus -}}
{{- if and (include "webb.operator" .) (or $metrics.serviceMonitor.enabled $metrics.metricsService) -}}
{{- if $v.webb.besideCilium -}}{{ include "webb.operator" . }}{{ else -}}cilium-operator{{- end -}}
{{- end -}}
{{- end }}

{{- /* Labels by which the ServiceMonitor finds the Service. */ -}}
{{- define "webb.operatorServiceSelector" -}}
{{- if (include "webb.values" . | fromJson).webb.besideCilium -}}
{{- include "webb.operatorSelector" . -}}
{{- else -}}
io.cilium/app: operator
name: cilium-operator
{{- end -}}
{{- end }}

{{- /* Labels of the Service, and no others, as those of hubble-metrics. */ -}}
{{- define "webb.operatorServiceLabels" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $own := include "webb.operatorServiceSelector" . | fromYaml -}}
{{- if not $v.webb.besideCilium -}}
{{- $own = merge $own (dict "app.kubernetes.io/name" "cilium-operator" "app.kubernetes.io/part-of" "cilium") -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy $v.commonLabels) $own) -}}
{{- end }}

{{- /* Annotations of the pods by which Cilium's scrape example finds the metrics. */ -}}
{{- define "webb.operatorAnnotations" -}}
{{- $metrics := (include "webb.values" . | fromJson).operator.prometheus -}}
{{- if not $metrics.serviceMonitor.enabled -}}
prometheus.io/port: {{ int $metrics.port | quote }}
prometheus.io/scrape: "true"
{{- end -}}
{{- end }}

{{- /* The operator's configuration: what the values decide, and the keys of webb.config that it reads. */ -}}
{{- define "webb.operatorConfiguration" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $all := dict
    "operator" (dict
      "listen" (printf "[::]:%d" (int $v.operator.prometheus.port))
      "lease_namespace" (include "webb.namespace" .)
      "lease_name" (include "webb.operator" .)
      "agent_labels" (list "app.kubernetes.io/name=webb" (printf "app.kubernetes.io/instance=%s" .Release.Name)))
    "admin_listen" (printf "127.0.0.1:%d" (int $v.webb.admin.port))
    "agent_metrics" (dict "compat" $v.webb.agentMetrics.compat) -}}
{{- $more := pick $v.webb.config "operator" "log" "shutdown" "supervision" "privileges" -}}
{{- include "webb.overlay" (dict "base" $all "over" $more "path" "config.") -}}
{{- toYaml $all -}}
{{- end }}

{{- /* Values of the operator that do not go together. */ -}}
{{- define "webb.operatorConflicts" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if include "webb.operator" . -}}
{{- if eq (int $v.operator.prometheus.port) (int $v.webb.admin.port) }}operator.prometheus.port and webb.admin.port are both {{ int $v.webb.admin.port }}; each needs a port of its own in the operator's pod{{ "\n" }}{{- end -}}
{{- $config := $v.webb.config.operator | default dict -}}
{{- range $key, $from := dict "listen" "operator.prometheus.port" "lease_namespace" "webb.namespaceOverride" "lease_name" "webb.fullnameOverride" "agent_labels" "operator.enabled" -}}
{{- if hasKey $config $key }}webb.config.operator.{{ $key }} is decided by other values: see {{ $from }}{{ "\n" }}{{- end -}}
{{- end -}}
{{- if $config.election }}webb.config.operator.election makes replicas of the agents, and operator.enabled a Deployment of them; choose one{{ "\n" }}{{- end -}}
{{- $budget := $v.operator.podDisruptionBudget -}}
{{- if and $budget.enabled (not (kindIs "invalid" $budget.minAvailable)) (ge (int $budget.minAvailable) (int $v.operator.replicas)) (not (hasSuffix "%" (toString $budget.minAvailable))) }}operator.podDisruptionBudget.minAvailable is {{ $budget.minAvailable }} of {{ int $v.operator.replicas }} replicas, so no node with one could be drained{{ "\n" }}{{- end -}}
{{- end -}}
{{- end }}
