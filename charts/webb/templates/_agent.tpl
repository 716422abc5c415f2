{{- /* Cilium's agent metrics: families, Service and labels; and health between nodes. */ -}}

{{- /* Entries of prometheus.metrics, split as Cilium's agent splits them, that fit a pattern, separated by blanks. Input:
    root, fits (whether those that fit, or the others). */ -}}
{{- define "webb.agentToggles" -}}
{{- $fits := .fits -}}{{- $found := list -}}
{{- range regexSplit "[,\\s]+" (join " " (include "webb.values" .root | fromJson).prometheus.metrics) -1 -}}
{{- if and . (eq $fits (regexMatch "^[+-][A-Za-z0-9_:]{1,200}$" .)) -}}{{- $found = append $found . -}}{{- end -}}
{{- end -}}
{{- join " " $found -}}
{{- end }}

{{- define "webb.agentService" -}}
{{- $agent := (include "webb.values" . | fromJson).prometheus -}}
{{- if and $agent.enabled (or $agent.serviceMonitor.enabled $agent.metricsService) -}}cilium-agent{{- end -}}
{{- end }}

{{- /* Labels of the Service, and no others, as those of hubble-metrics: a version among them would begin series anew. */ -}}
{{- define "webb.agentServiceLabels" -}}
{{- $own := dict "k8s-app" "cilium" "app.kubernetes.io/name" "cilium-agent" "app.kubernetes.io/part-of" "cilium" -}}
{{- toYaml (mergeOverwrite (deepCopy (include "webb.values" . | fromJson).commonLabels) $own) -}}
{{- end }}

{{- /* Annotations of the pods by which Cilium's scrape example finds the agent metrics. */ -}}
{{- define "webb.agentAnnotations" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if and $v.prometheus.enabled (not $v.prometheus.serviceMonitor.enabled) (not $v.webb.podMonitor.enabled) -}}
prometheus.io/port: {{ int $v.prometheus.port | quote }}
prometheus.io/scrape: "true"
{{- end -}}
{{- end }}

{{- /* Capabilities of the container: counting the maps of other programs takes one more. */ -}}
{{- define "webb.capabilities" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $all := $v.webb.capabilities -}}
{{- if and $v.prometheus.enabled $v.webb.agentMetrics.allMaps -}}{{- $all = append $all "SYS_ADMIN" | uniq -}}{{- end -}}
{{- toYaml $all -}}
{{- end }}

{{- /* Port of health between nodes, if there is any. */ -}}
{{- define "webb.healthPort" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $wanted := $v.healthChecking -}}
{{- if kindIs "invalid" $wanted -}}{{- $wanted = $v.prometheus.enabled -}}{{- end -}}
{{- if and $wanted (not $v.webb.besideCilium) -}}{{ int $v.healthPort }}{{- end -}}
{{- end }}
