{{- /*
The values in force: the defaults of files/defaults.yaml, a copy of values.yaml, overlaid with what the release has. So a
key that is null, or that an older release kept by --reuse-values does not know, has its default, and no template can
reach through a key that is absent. They are made once for a release and kept beside .Values, as JSON, which is parsed
many times faster than YAML; each use has a copy of its own. Use: {{ $v := include "webb.values" . | fromJson }}
*/ -}}
{{- define "webb.values" -}}
{{- if not (hasKey . "webbValues") -}}
{{- $base := .Files.Get "files/defaults.yaml" | fromYaml -}}
{{- include "webb.overlay" (dict "base" $base "over" .Values "path" "") -}}
{{- $_ := set . "webbValues" (toJson $base) -}}
{{- end -}}
{{- .webbValues -}}
{{- end }}

{{- /* Blocks that count as a whole, so that null can take a key out of them: {resources: {limits: null}}. */ -}}
{{- define "webb.whole" -}}
nodeSelector operator.nodeSelector operator.resources webb.resources webb.updateStrategy webb.seccompProfile webb.seLinuxOptions webb.namesRelay.nodeSelector
{{- end }}

{{- /* Overlays `base` with `over`, in place. What is null changes nothing, nor does a single value in a block's place. */ -}}
{{- define "webb.overlay" -}}
{{- $base := .base -}}{{- $path := .path -}}
{{- $whole := splitList " " (include "webb.whole" .) -}}
{{- range $key, $value := .over -}}
{{- $here := printf "%s%s" $path $key -}}
{{- $old := get $base $key -}}
{{- if kindIs "invalid" $value -}}
{{- else if and (kindIs "map" $old) (not (kindIs "map" $value)) -}}
{{- else if and (kindIs "map" $old) (not (has $here $whole)) -}}
{{- include "webb.overlay" (dict "base" $old "over" $value "path" (printf "%s." $here)) -}}
{{- else -}}
{{- $_ := set $base $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Port of /metrics. */ -}}
{{- define "webb.metricsPort" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if $v.webb.metricsPort -}}{{ int $v.webb.metricsPort }}
{{- else if $v.webb.besideCilium -}}9968
{{- else -}}{{ int $v.hubble.metrics.port }}
{{- end -}}
{{- end }}

{{- /* Name of the Service and its ServiceMonitor's: Cilium's, unless Cilium is there. */ -}}
{{- define "webb.service" -}}
{{- if (include "webb.values" . | fromJson).webb.besideCilium -}}{{ include "webb.name" . }}-metrics{{ else -}}hubble-metrics{{ end -}}
{{- end }}

{{- /* Job of the scrapes: a PodMonitor's are named by itself, a ServiceMonitor's and the annotations' by the Service. */ -}}
{{- define "webb.job" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if $v.webb.prometheusRule.job -}}{{ $v.webb.prometheusRule.job }}
{{- else if and $v.webb.podMonitor.enabled (not $v.hubble.metrics.serviceMonitor.enabled) -}}
{{ include "webb.namespace" . }}/{{ include "webb.name" . }}
{{- else -}}{{ include "webb.service" . }}
{{- end -}}
{{- end }}

{{- define "webb.monitor" -}}
{{- if (include "webb.values" . | fromJson).webb.besideCilium -}}{{ include "webb.name" . }}{{ else -}}hubble{{ end -}}
{{- end }}

{{- /* Secret of the server's certificate, and the name that it is for. */ -}}
{{- define "webb.certificateSecret" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $v.hubble.metrics.tls.server.existingSecret | default (ternary (printf "%s-server-certs" (include "webb.service" .)) "hubble-metrics-server-certs" $v.webb.besideCilium) -}}
{{- end }}

{{- define "webb.serverName" -}}
{{- (include "webb.values" . | fromJson).cluster.name }}.hubble-metrics.cilium.io
{{- end }}

{{- /* The image, by digest if there is one. */ -}}
{{- define "webb.image" -}}
{{- $image := (include "webb.values" . | fromJson).webb.image -}}
{{- $name := $image.repository -}}
{{- if $image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" $image.registry) $name -}}{{- end -}}
{{- if $image.digest -}}{{ $name }}@{{ $image.digest }}
{{- else -}}{{ $name }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
