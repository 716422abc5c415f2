{{- /* The certificates that the flows and the names relay need, as a list: of (the values' path), secret, name, values. */ -}}
{{- define "webb.flowCertificates" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $hubble := $v.hubble -}}
{{- $all := list -}}
{{- if include "webb.flowTls" . -}}
{{- $name := printf "*.%s.hubble-grpc.cilium.io" ($v.cluster.name | replace "." "-") -}}
{{- $all = append $all (dict "of" "hubble.tls.server" "secret" (include "webb.flowSecret" (dict "root" . "of" "server-certs" "values" $hubble.tls.server)) "name" $name "values" $hubble.tls.server) -}}
{{- if $hubble.relay.enabled -}}
{{- $all = append $all (dict "of" "hubble.relay.tls.client" "secret" (include "webb.flowSecret" (dict "root" . "of" "relay-client-certs" "values" $hubble.relay.tls.client)) "name" "*.hubble-relay.cilium.io" "values" $hubble.relay.tls.client) -}}
{{- end -}}
{{- end -}}
{{- if $hubble.relay.tls.server.enabled -}}
{{- if include "webb.relay" . -}}
{{- $all = append $all (dict "of" "hubble.relay.tls.server" "secret" (include "webb.flowSecret" (dict "root" . "of" "relay-server-certs" "values" $hubble.relay.tls.server)) "name" "*.hubble-relay.cilium.io" "values" $hubble.relay.tls.server) -}}
{{- end -}}
{{- if include "webb.ui" . -}}
{{- $all = append $all (dict "of" "hubble.ui.tls.client" "secret" (include "webb.flowSecret" (dict "root" . "of" "ui-client-certs" "values" $hubble.ui.tls.client)) "name" "*.hubble-ui.cilium.io" "values" $hubble.ui.tls.client) -}}
{{- end -}}
{{- end -}}
{{- if include "webb.namesRelay" . -}}
{{- range $of, $name := dict "server" (include "webb.namesRelayHost" $) "client" "*.webb-names-clients" -}}
{{- $all = append $all (dict "of" (printf "webb.namesRelay.tls.%s" $of) "secret" (include "webb.namesRelaySecret" (dict "root" $ "of" $of)) "name" $name "values" (get $v.webb.namesRelay.tls $of)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end }}

{{- /* Name of a certificate's Secret. Input: root, of, values. */ -}}
{{- define "webb.flowSecret" -}}
{{- .values.existingSecret | default (include "webb.hubbleName" .) -}}
{{- end }}

{{- /* The source of a volume with a certificate. Input: secret, certificate, key, ca (names of the files), optional. */ -}}
{{- define "webb.flowVolume" -}}
- secret:
    name: {{ .secret }}
    {{- if .optional }}
    optional: true
    {{- end }}
    items:
      - key: tls.crt
        path: {{ .certificate }}
      - key: tls.key
        path: {{ .key }}
      {{- with .ca }}
      - key: ca.crt
        path: {{ . }}
      {{- end }}
{{- end }}
