{{- /* Hubble's API of the agents, Relay and UI in front of it, and flow log files. */ -}}

{{- /* Name of an object of Hubble's, given what stands behind `hubble-`: Cilium's, unless Cilium is there. Input: root, of. */ -}}
{{- define "webb.hubbleName" -}}
{{- ternary (include "webb.name" .root) "hubble" (include "webb.values" .root | fromJson).webb.besideCilium }}-{{ .of -}}
{{- end }}

{{- define "webb.relay" -}}
{{- $hubble := (include "webb.values" . | fromJson).hubble -}}
{{- if and $hubble.enabled $hubble.relay.enabled -}}{{ include "webb.hubbleName" (dict "root" . "of" "relay") }}{{- end -}}
{{- end }}

{{- define "webb.ui" -}}
{{- $hubble := (include "webb.values" . | fromJson).hubble -}}
{{- if and $hubble.enabled $hubble.ui.enabled -}}{{ include "webb.hubbleName" (dict "root" . "of" "ui") }}{{- end -}}
{{- end }}

{{- /* Address of the API on each node; empty if there is none. */ -}}
{{- define "webb.flowAddress" -}}
{{- $hubble := (include "webb.values" . | fromJson).hubble -}}
{{- if $hubble.enabled -}}
{{- if $hubble.listenAddress -}}{{ $hubble.listenAddress }}
{{- else if $hubble.relay.enabled -}}:4244
{{- end -}}
{{- end -}}
{{- end }}

{{- define "webb.flowPort" -}}
{{- with include "webb.flowAddress" . -}}{{ splitList ":" . | last }}{{- end -}}
{{- end }}

{{- /* Whether the agents have a history of flows, and a socket to it. */ -}}
{{- define "webb.observer" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $wanted := $v.webb.observer.enabled -}}
{{- if or $wanted (include "webb.flowAddress" .) -}}true{{- end -}}
{{- end }}

{{- /* Whether the API is served by TLS. */ -}}
{{- define "webb.flowTls" -}}
{{- if and (include "webb.flowAddress" .) (include "webb.values" . | fromJson).hubble.tls.enabled -}}true{{- end -}}
{{- end }}

{{- /* Port of the peer service. */ -}}
{{- define "webb.peerPort" -}}
{{- $service := (include "webb.values" . | fromJson).hubble.peerService -}}
{{- $service.servicePort | default (ternary 443 80 (not (empty (include "webb.flowTls" .)))) | int -}}
{{- end }}

{{- /* Port of Relay's Service. */ -}}
{{- define "webb.relayPort" -}}
{{- $relay := (include "webb.values" . | fromJson).hubble.relay -}}
{{- $relay.servicePort | default (ternary 443 80 $relay.tls.server.enabled) | int -}}
{{- end }}

{{- /* Whether flows are exported, and whether to files: to standard output they need no directory. */ -}}
{{- define "webb.export" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if and $v.hubble.enabled (or $v.hubble.export.static.enabled $v.hubble.export.dynamic.enabled) -}}true{{- end -}}
{{- end }}

{{- define "webb.exportDirectory" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- if include "webb.export" . -}}
{{- if or $v.hubble.export.dynamic.enabled (ne $v.hubble.export.static.filePath "stdout") -}}{{ $v.webb.export.directory | trimSuffix "/" }}{{- end -}}
{{- end -}}
{{- end }}

{{- /* Directory of the socket of the agent that flows are taken from, if they are taken from one. */ -}}
{{- define "webb.sourceDirectory" -}}
{{- $source := toString (get (include "webb.values" . | fromJson).webb.config "flow_source") -}}
{{- if hasPrefix "hubble:unix:" $source -}}{{ $source | trimPrefix "hubble:unix:" | trimPrefix "//" | dir }}{{- end -}}
{{- end }}

{{- /* Image of Relay or UI. Input: the block. */ -}}
{{- define "webb.hubbleImage" -}}
{{- if .override -}}{{ .override }}
{{- else -}}{{ .repository }}:{{ .tag }}{{ if and .useDigest .digest }}@{{ .digest }}{{ end }}
{{- end -}}
{{- end }}

{{- /* Labels of an object of Relay or UI, and of its pods. Input: root, of, more. */ -}}
{{- define "webb.flowLabels" -}}
{{- $name := include "webb.hubbleName" . -}}
{{- include "webb.hubbleLabels" (dict "root" .root "more" (mergeOverwrite (dict "k8s-app" $name "app.kubernetes.io/name" $name) (.more | default dict))) -}}
{{- end }}

{{- define "webb.flowPodLabels" -}}
{{- $v := include "webb.values" .root | fromJson -}}
{{- $name := include "webb.hubbleName" . -}}
{{- $own := dict "k8s-app" $name "app.kubernetes.io/name" $name -}}
{{- if not $v.webb.besideCilium -}}{{- $_ := set $own "app.kubernetes.io/part-of" "cilium" -}}{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy $v.commonLabels) (get $v.hubble .of).podLabels $own) -}}
{{- end }}

{{- /* Where pods of Relay or UI may run, and what they are woken and drained with. Input: root, of. */ -}}
{{- define "webb.flowPod" -}}
{{- $v := include "webb.values" .root | fromJson -}}
{{- $block := get $v.hubble .of -}}
{{- with $block.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $v.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- toYaml ($block.nodeSelector | default (dict "kubernetes.io/os" "linux")) | nindent 2 }}
{{- with $block.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $block.affinity }}
affinity:
  {{- toYaml $block.affinity | nindent 2 }}
{{- else if eq .of "relay" }}
# The peer service leads to the agent of the same node.
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "webb.selector" .root | nindent 12 }}
{{- end }}
{{- end }}

{{- define "webb.flowBudget" -}}
{{- $v := include "webb.values" .root | fromJson -}}
{{- $budget := (get $v.hubble .of).podDisruptionBudget -}}
{{- if $budget.enabled -}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "webb.hubbleName" . }}
  namespace: {{ include "webb.namespace" .root }}
  labels:
    {{- include "webb.flowLabels" . | nindent 4 }}
spec:
  {{- if kindIs "invalid" $budget.minAvailable }}
  maxUnavailable: {{ $budget.maxUnavailable }}
  {{- else }}
  minAvailable: {{ $budget.minAvailable }}
  {{- end }}
  selector:
    matchLabels:
      k8s-app: {{ include "webb.hubbleName" . }}
{{- end }}
{{- end }}

{{- /* Values of the flows that do not go together. */ -}}
{{- define "webb.flowConflicts" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $hubble := $v.hubble -}}
{{- if and $hubble.relay.enabled (not $hubble.enabled) }}hubble.relay.enabled needs hubble.enabled{{ "\n" }}{{- end -}}
{{- if and $hubble.ui.enabled (not $hubble.relay.enabled) (not $hubble.ui.standalone.enabled) }}hubble.ui.enabled needs hubble.relay.enabled, or hubble.ui.standalone.enabled where a Relay is there{{ "\n" }}{{- end -}}
{{- $port := include "webb.flowPort" . -}}
{{- if and $port $v.webb.besideCilium (eq $port "4244") }}hubble.listenAddress needs another port than 4244, which is Cilium's, with webb.besideCilium{{ "\n" }}{{- end -}}
{{- with $hubble.peerService.targetPort -}}
{{- if and $port (ne (toString .) $port) }}hubble.peerService.targetPort is {{ . }}, and the agents listen at {{ $port }} (hubble.listenAddress){{ "\n" }}{{- end -}}
{{- end -}}
{{- if and (include "webb.observer" .) (eq (toString $v.webb.observer.enabled) "false") }}webb.observer.enabled is false, and {{ ternary "hubble.listenAddress" "hubble.relay.enabled" (not (empty $hubble.listenAddress)) }} needs it{{ "\n" }}{{- end -}}
{{- range $block, $keys := dict "observer" (list "enabled" "listen") "export" (list "directory" "config" "file_path") -}}
{{- range $keys -}}
{{- if hasKey (get $v.webb.config $block | default dict) . }}webb.config.{{ $block }}.{{ . }} is decided by other values: see {{ get (dict "observer" "webb.observer, hubble.listenAddress and hubble.socketPath" "export" "hubble.export and webb.export") $block }}{{ "\n" }}{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey $v.webb.config "observer_tls" }}webb.config.observer_tls is decided by other values: see hubble.tls{{ "\n" }}{{- end -}}
{{- with include "webb.exportDirectory" . -}}
{{- $directory := . -}}
{{- if and $v.webb.besideCilium (eq . "/var/run/cilium/hubble") }}webb.export.directory is where Cilium's agent writes; it needs another one with webb.besideCilium{{ "\n" }}{{- end -}}
{{- if and (include "webb.observer" $) (eq . (dir $hubble.socketPath)) }}webb.export.directory is the one of hubble.socketPath; each needs its own{{ "\n" }}{{- end -}}
{{- $files := list -}}
{{- if $hubble.export.static.enabled -}}{{- $files = append $files (dict "of" "hubble.export.static.filePath" "path" $hubble.export.static.filePath) -}}{{- end -}}
{{- if and $hubble.export.dynamic.enabled $hubble.export.dynamic.config.createConfigMap -}}
{{- range $hubble.export.dynamic.config.content -}}{{- $files = append $files (dict "of" (printf "hubble.export.dynamic has %s, whose filePath" .name) "path" (toString .filePath)) -}}{{- end -}}
{{- end -}}
{{- range $files -}}
{{- if and (hasPrefix "/" .path) (not (hasPrefix (printf "%s/" $directory) (clean .path))) }}{{ .of }} is {{ .path }}, which is not below webb.export.directory, {{ $directory }}{{ "\n" }}{{- end -}}
{{- end -}}
{{- end -}}
{{- range include "webb.flowCertificates" . | fromYamlArray -}}
{{- if ne (empty .values.cert) (empty .values.key) }}{{ .of }} has only one of cert and key; a Secret needs both{{ "\n" }}
{{- else if and .values.cert (not .values.existingSecret) (not $v.tls.ca.cert) }}{{ .of }}.cert needs tls.ca.cert, the authority that it comes from{{ "\n" }}{{- end -}}
{{- end -}}
{{- if and (include "webb.flowTls" .) $hubble.tls.auto.enabled (eq $hubble.tls.auto.method "certmanager") (not $hubble.tls.auto.certManagerIssuerRef.name) (not $hubble.metrics.tls.enabled) }}hubble.tls.auto.method is certmanager, and hubble.tls.auto.certManagerIssuerRef.name says no issuer{{ "\n" }}{{- end -}}
{{- end }}

{{- /* Relay's configuration. */ -}}
{{- define "webb.relayConfiguration" -}}
{{- $v := include "webb.values" . | fromJson -}}
{{- $relay := $v.hubble.relay -}}
{{- $peer := printf "%s.%s.svc.%s.:%s" (include "webb.hubbleName" (dict "root" . "of" "peer")) (include "webb.namespace" .) $v.hubble.peerService.clusterDomain (include "webb.peerPort" .) -}}
{{- $all := dict
    "cluster-name" $v.cluster.name
    "peer-service" $peer
    "listen-address" (printf "%s:%v" $relay.listenHost $relay.listenPort)
    "gops" $relay.gops.enabled
    "gops-port" (toString $relay.gops.port)
    "sort-buffer-len-max" (int $relay.sortBufferLenMax) -}}
{{- with $relay.retryTimeout -}}{{- $_ := set $all "retry-timeout" . -}}{{- end -}}
{{- with $relay.sortBufferDrainTimeout -}}{{- $_ := set $all "sort-buffer-drain-timeout" . -}}{{- end -}}
{{- if $relay.prometheus.enabled -}}{{- $_ := set $all "metrics-listen-address" (printf ":%d" (int $relay.prometheus.port)) -}}{{- end -}}
{{- $files := "/var/lib/hubble-relay/tls" -}}
{{- if include "webb.flowTls" . -}}
{{- $_ := set $all "tls-hubble-client-cert-file" (printf "%s/client.crt" $files) -}}
{{- $_ := set $all "tls-hubble-client-key-file" (printf "%s/client.key" $files) -}}
{{- $_ := set $all "tls-hubble-server-ca-files" (printf "%s/hubble-server-ca.crt" $files) -}}
{{- else -}}{{- $_ := set $all "disable-client-tls" true -}}
{{- end -}}
{{- if $relay.tls.server.enabled -}}
{{- $_ := set $all "tls-relay-server-cert-file" (printf "%s/server.crt" $files) -}}
{{- $_ := set $all "tls-relay-server-key-file" (printf "%s/server.key" $files) -}}
{{- if $relay.tls.server.mtls -}}{{- $_ := set $all "tls-relay-client-ca-files" (printf "%s/client-ca.crt" $files) -}}{{- end -}}
{{- else -}}{{- $_ := set $all "disable-server-tls" true -}}
{{- end -}}
{{- toYaml $all -}}
{{- end }}

{{- /* nginx of the UI's frontend: the page's files, and its questions to the backend beside it. */ -}}
{{- define "webb.uiServer" -}}
{{- $base := (include "webb.values" . | fromJson).hubble.ui.baseUrl | trimSuffix "/" -}}
server {
  listen 8081;
  listen [::]:8081;
  root /app;
  index index.html;
  client_max_body_size 1G;

  location = /healthz {
    access_log off;
    default_type text/plain;
    return 200 "ok";
  }
  {{- with $base }}

  # Below a path of its own the page finds its files by this base.
  location {{ . }}/ {
    rewrite ^{{ . }}(/.*)$ $1 last;
  }
  sub_filter '<base href="/"/>' '<base href="{{ . }}/"/>';
  sub_filter_once on;
  {{- end }}

  location /api {
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_pass http://127.0.0.1:8090;
  }

  location / {
    if ($http_user_agent ~* "kube-probe") {
      access_log off;
    }
    # The last one is the answer to any other path: the page has its own.
    try_files $uri $uri/ /index.html /index.html;
  }
}
{{- end }}
