{{/* What all names begin with: the release's name, which says contentgen at least once. */}}
{{- define "contentgen.name" -}}
{{- $name := ternary .Release.Name (printf "%s-contentgen" .Release.Name) (contains "contentgen" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels of what belongs to one service: list of the context and its name. */}}
{{- define "contentgen.labels" -}}
{app.kubernetes.io/name: {{ include "contentgen.name" (first .) }}-{{ last . }}, app.kubernetes.io/instance: {{ (first .).Release.Name }}, app.kubernetes.io/part-of: contentgen}
{{- end }}

{{/* That by which its pods are found. */}}
{{- define "contentgen.selector" -}}
{app.kubernetes.io/name: {{ include "contentgen.name" (first .) }}-{{ last . }}}
{{- end }}

{{- define "contentgen.image" -}}
{{- $images := (first .).Values.images -}}
{{ with $images.registry }}{{ . }}/{{ end }}{{ last . }}:{{ $images.tag | default (first .).Chart.AppVersion }}
{{- end }}

{{/* Fields of each pod: list of the context and the service's values. */}}
{{- define "contentgen.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false # its variables would begin with CONTENTGEN_
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with (first .).Values.images.pullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- with (last .).pod }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Pods of a service go to different zones, and in them to different nodes, if there is room. */}}
{{- define "contentgen.spread" -}}
{{- $selector := include "contentgen.selector" . -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ $selector }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ $selector }}
{{- end }}

{{- define "contentgen.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* What a proxy or a mesh may take an API's port for. With TLS that is opaque to it: h2c would be wrong. */}}
{{- define "contentgen.protocol" -}}
{{ ternary "https" "kubernetes.io/h2c" .Values.tls.enabled }}
{{- end }}

{{/* The settings of each service: those that follow from values, and over them those that are given. */}}
{{- define "contentgen.settings.scheduler" -}}
{{- $settings := dict "CONTENTGEN_DATA_DIR" "/data" "CONTENTGEN_ASSETS" (.Values.assets.bucket | default "/assets")
  "CONTENTGEN_LISTEN" "0.0.0.0:50051" "CONTENTGEN_SCALER_LISTEN" "0.0.0.0:50052" "CONTENTGEN_METRICS_LISTEN" "0.0.0.0:9464"
  "CONTENTGEN_LOG_FORMAT" "json" "CONTENTGEN_REQUIRE_DATABASE_URL" "on" "DATABASE_URL_FILE" "/run/contentgen/database-url" -}}
{{- $tls := dict "CONTENTGEN_TLS_CERT" "/run/contentgen/tls.crt" "CONTENTGEN_TLS_KEY" "/run/contentgen/tls.key"
  "CONTENTGEN_TOKENS_FILE" "/run/contentgen/tokens" -}}
{{- toYaml (merge (deepCopy .Values.scheduler.settings) $settings (ternary $tls (dict "CONTENTGEN_INSECURE" "on") .Values.tls.enabled)) }}
{{- end }}

{{- define "contentgen.settings.worker" -}}
{{- $settings := dict "CONTENTGEN_DATA_DIR" "/data" "CONTENTGEN_METRICS_LISTEN" "0.0.0.0:9464" "CONTENTGEN_LOG_FORMAT" "json"
  "CONTENTGEN_SCHEDULER" (printf "dns:///%s-schedulers:50051" (include "contentgen.name" .))
  "CONTENTGEN_SLOTS" (.Values.worker.slots | int | toString) "CONTENTGEN_DRAIN_TIMEOUT" (printf "%dm" (int .Values.worker.drainMinutes)) -}}
{{- $tls := dict "CONTENTGEN_TLS_CA" "/run/contentgen/ca.crt" "CONTENTGEN_TOKEN_FILE" "/run/contentgen/token" -}}
{{- toYaml (merge (deepCopy .Values.worker.settings) $settings (ternary $tls dict .Values.tls.enabled)) }}
{{- end }}

{{- define "contentgen.settings.console" -}}
{{- $settings := dict "CONTENTGEN_CONSOLE_LISTEN" "0.0.0.0:8080" "CONTENTGEN_METRICS_LISTEN" "0.0.0.0:9464"
  "CONTENTGEN_SCHEDULER" (printf "dns:///%s-schedulers:50051" (include "contentgen.name" .)) -}}
{{- $tls := dict "CONTENTGEN_TLS_CA" "/run/contentgen/ca.crt" "CONTENTGEN_CONSOLE_BEHIND_PROXY" "on" -}}
{{- toYaml (merge (deepCopy .Values.console.settings) $settings (ternary $tls (dict "CONTENTGEN_INSECURE" "on") .Values.tls.enabled)) }}
{{- end }}

{{/* The map of a service's settings; its pods are replaced with it. */}}
{{- define "contentgen.settings" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "contentgen.name" (first .) }}-{{ last . }}
  labels: {{ include "contentgen.labels" . }}
data:
  {{- include (printf "contentgen.settings.%s" (last .)) (first .) | nindent 2 }}
{{- end }}

{{- define "contentgen.annotations" -}}
checksum/settings: {{ include (printf "contentgen.settings.%s" (last .)) (first .) | sha256sum }}
{{- with (index (first .).Values (last .)).annotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "contentgen.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "contentgen.name" (first .) }}-{{ last . }}
  labels: {{ include "contentgen.labels" . }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{ include "contentgen.selector" . }}
{{- end }}
