{{- /*
The metrics file. It is followed by the agent while it runs, so a changed list needs no new pods. Where the values have
Hubble's list of texts, each text becomes an entry of the file: `drop:sourceContext=pod|ip` is the metric drop with the
option sourceContext and the values pod and ip.
*/ -}}

{{- /* ConfigMap that has the file. */ -}}
{{- define "webb.metricsConfigMap" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $dynamic := $v.hubble.metrics.dynamic -}}
{{- if not (and $v.hubble.enabled $dynamic.enabled) -}}{{ include "webb.name" . }}-metrics-config
{{- else if and $v.webb.besideCilium (eq $dynamic.config.configMapName "cilium-dynamic-metrics-config") -}}
{{ include "webb.name" . }}-dynamic-metrics-config
{{- else -}}{{ $dynamic.config.configMapName }}
{{- end -}}
{{- end }}

{{- /* Texts of the list in force, separated by blanks. */ -}}
{{- define "webb.metricsText" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $list := $v.hubble.metrics.enabled -}}
{{- if kindIs "invalid" $list -}}{{- $list = $v.webb.metrics -}}{{- end -}}
{{- $zones := $v.webb.zones -}}
{{- if and $zones.enabled (not (regexMatch "(^|\\s)zones(:|\\s|$)" (join " " $list))) -}}
{{- $list = append ($list | default list) "zones:labelsContext=source_namespace,source_workload,destination_namespace,destination_workload" -}}
{{- end -}}
{{- if and $zones.opencost (not (regexMatch "(^|\\s)opencost(\\s|$)" (join " " $list))) -}}
{{- $list = append ($list | default list) "opencost" -}}
{{- end -}}
{{- if $v.hubble.enabled -}}{{ regexSplit "\\s+" (join " " $list | trim) -1 | join " " }}{{- end -}}
{{- end }}

{{- /* The texts as a file. */ -}}
{{- define "webb.metricsFile" -}}
{{- $metrics := list -}}
{{- range $text := splitList " " (include "webb.metricsText" .) -}}{{- if $text -}}
{{- $parts := splitn ":" 2 $text -}}
{{- $options := list -}}
{{- range $option := splitList ";" ($parts._1 | default "") -}}{{- if $option -}}
{{- $pair := splitn "=" 2 $option -}}
{{- $values := list -}}
{{- /* A name without values has one, which is empty. */ -}}
{{- if not (contains "=" $option) -}}{{- $values = list "" -}}{{- end -}}
{{- range regexSplit "[|,]" ($pair._1 | default "") -1 -}}{{- if . -}}{{- $values = append $values . -}}{{- end -}}{{- end -}}
{{- $options = append $options (dict "name" $pair._0 "values" $values) -}}
{{- end -}}{{- end -}}
{{- $metric := dict "name" $parts._0 -}}
{{- if $options -}}{{- $_ := set $metric "contextOptions" $options -}}{{- end -}}
{{- $metrics = append $metrics $metric -}}
{{- end -}}{{- end -}}
{{- toYaml (dict "metrics" $metrics) -}}
{{- end }}
