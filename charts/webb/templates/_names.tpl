{{- /* The name of what has none from Cilium. */ -}}
{{- define "webb.name" -}}
{{- dig "fullnameOverride" "" (.Values.webb | default dict) | default "webb" | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "webb.namespace" -}}
{{- dig "namespaceOverride" "" (.Values.webb | default dict) | default .Release.Namespace -}}
{{- end }}

{{- define "webb.account" -}}
{{- (include "webb.values" . | fromJson).webb.serviceAccount.name | default (include "webb.name" .) -}}
{{- end }}

{{- define "webb.selector" -}}
app.kubernetes.io/name: webb
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Labels of every object: the chart's, and the user's. Input: dict with root, and own labels that win. */ -}}
{{- define "webb.labels" -}}
{{- $common := dict
    "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63)
    "app.kubernetes.io/name" "webb"
    "app.kubernetes.io/instance" .root.Release.Name
    "app.kubernetes.io/version" .root.Chart.AppVersion
    "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- toYaml (mergeOverwrite $common (deepCopy (.root.Values.commonLabels | default dict)) (.own | default dict)) -}}
{{- end }}

{{- /* Labels of Hubble's objects: Cilium's, but webb's own beside Cilium. Input: root, more. */ -}}
{{- define "webb.hubbleLabels" -}}
{{- $own := dict -}}
{{- if not (include "webb.values" .root | fromJson).webb.besideCilium -}}
{{- $own = dict "app.kubernetes.io/name" "hubble" "app.kubernetes.io/part-of" "cilium" -}}
{{- end -}}
{{- include "webb.labels" (dict "root" .root "own" (mergeOverwrite $own (.more | default dict))) -}}
{{- end }}

{{- /* Labels of the Service that Prometheus finds, and no others (beside Cilium those of the pods): Cilium's scrape example makes each a label of all
    series, and a version among them would begin every series anew at an upgrade. */ -}}
{{- define "webb.serviceLabels" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $own := dict "k8s-app" "hubble" "app.kubernetes.io/name" "hubble" "app.kubernetes.io/part-of" "cilium" -}}
{{- if $v.webb.besideCilium -}}{{- $own = include "webb.selector" . | fromYaml -}}{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy $v.commonLabels) $own) -}}
{{- end }}

{{- /* Labels of the pods. */ -}}
{{- define "webb.podLabels" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $all := deepCopy $v.commonLabels -}}
{{- if and $v.webb.ciliumLabel (not $v.webb.besideCilium) -}}{{- $_ := set $all "k8s-app" "cilium" -}}{{- end -}}
{{- toYaml (mergeOverwrite $all $v.webb.podLabels (include "webb.selector" . | fromYaml)) -}}
{{- end }}
