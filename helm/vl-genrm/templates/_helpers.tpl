{{/* Names and labels. A component's name is <fullname>[-<component>]. */}}

{{- define "vl-genrm.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 50 characters, so that every suffix fits into 63. */}}
{{- define "vl-genrm.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "vl-genrm.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "vl-genrm.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "vl-genrm.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "vl-genrm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "vl-genrm.selector" -}}
app.kubernetes.io/name: {{ include "vl-genrm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: judge
{{- end }}

{{- define "vl-genrm.vllmSelector" -}}
app.kubernetes.io/name: {{ include "vl-genrm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: vllm
{{- end }}

{{/* Labels of a pod, of a dict with root, selector and labels: no versions, or each new chart would start a model anew. */}}
{{- define "vl-genrm.podLabels" -}}
{{- .selector }}
{{- with mustMergeOverwrite (dict) .root.Values.commonLabels .labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "vl-genrm.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vl-genrm.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Image of a dict with repository, tag, digest; `default` is the tag where none is given. */}}
{{- define "vl-genrm.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .default .image.tag) }}
{{- end }}
{{- end }}

{{/* The Secret with the keys: an existing one, the chart's own, or nothing. */}}
{{- define "vl-genrm.keysSecret" -}}
{{- if .Values.auth.existingSecret }}{{ .Values.auth.existingSecret }}
{{- else if .Values.auth.keys }}{{ include "vl-genrm.fullname" . }}-keys
{{- end }}
{{- end }}

{{/* What the chart's own Secret for environment variables holds; nothing if all of it is elsewhere or not wanted. */}}
{{- define "vl-genrm.ownSecrets" -}}
{{- with .Values.database }}
{{- if and (eq .kind "postgresql") (not .postgresql.existingSecret) }}
database-url: {{ .postgresql.url | quote }}
{{- end }}
{{- end }}
{{- with .Values.hub }}
{{- if and .token (not .existingSecret) }}
hub-token: {{ .token | quote }}
{{- end }}
{{- end }}
{{- with .Values.engine }}
{{- if and .apiKey (not .existingSecret) }}
engine-api-key: {{ .apiKey | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* An environment variable from a Secret, of a dict with root, variable, from (existingSecret, existingSecretKey) and own, the
     key in the chart's own Secret. */}}
{{- define "vl-genrm.secretEnv" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-secrets" (include "vl-genrm.fullname" .root)) .from.existingSecret }}
      key: {{ ternary .from.existingSecretKey .own (ne .from.existingSecret "") }}
{{- end }}

{{/* How pods reach the hub. */}}
{{- define "vl-genrm.hubEnv" -}}
- name: HF_HOME
  value: /models
{{- if .Values.hub.offline }}
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{- if or .Values.hub.existingSecret .Values.hub.token }}
{{ include "vl-genrm.secretEnv" (dict "root" . "variable" "HF_TOKEN" "from" .Values.hub "own" "hub-token") }}
{{- end }}
{{- end }}

{{/* The judge's settings as the data of a ConfigMap. Numbers through JSON: Go would write 20971520 as 2.097152e+07. */}}
{{- define "vl-genrm.settings" -}}
{{- $given := dict }}
{{- if .Values.gpu.enabled }}{{ $_ := set $given "device" "cuda" }}{{ end }}
{{- if .Values.vllm.enabled }}
{{- $_ := set $given "engine_url" (printf "http://%s-vllm:%v/v1" (include "vl-genrm.fullname" .) .Values.vllm.port) }}
{{- end }}
{{- $_ := set $given "port" .Values.port }}
{{- if not (kindIs "invalid" .Values.metrics.port) }}{{ $_ := set $given "metrics_port" .Values.metrics.port }}{{ end }}
{{- if include "vl-genrm.keysSecret" . }}{{ $_ := set $given "api_keys_file" "/etc/genrm/keys" }}{{ end }}
{{- if eq .Values.database.kind "sqlite" }}{{ $_ := set $given "database_url" "sqlite:////var/lib/genrm/genrm.db" }}{{ end }}
{{- if eq .Values.database.kind "none" }}{{ $_ := set $given "database_url" "none" }}{{ end }}
{{- range $name, $value := merge (deepCopy .Values.settings) $given }}
{{- if not (kindIs "invalid" $value) }}
GENRM_{{ upper $name }}: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ $value | toJson | quote }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* delay + timeout of a shutdown, in whole seconds; the service's defaults where the value is null. */}}
{{- define "vl-genrm.shutdownSeconds" -}}
{{- $delay := get .Values.settings "shutdown_delay_seconds" }}
{{- $timeout := get .Values.settings "shutdown_timeout_seconds" }}
{{- if not (kindIs "float64" $delay) }}{{ if not (kindIs "int64" $delay) }}{{ $delay = 1 }}{{ end }}{{ end }}
{{- if not (kindIs "float64" $timeout) }}{{ if not (kindIs "int64" $timeout) }}{{ $timeout = 25 }}{{ end }}{{ end }}
{{- addf $delay $timeout | ceil | int }}
{{- end }}

{{/* Whether volumes or the database take one pod only: "yes" or nothing. */}}
{{- define "vl-genrm.onePod" -}}
{{- $cache := .Values.modelCache.persistence }}
{{- if eq .Values.database.kind "sqlite" }}yes
{{- else if and $cache.enabled (not (has "ReadWriteMany" $cache.accessModes)) (not (has "ReadOnlyMany" $cache.accessModes)) }}yes
{{- end }}
{{- end }}

{{- define "vl-genrm.severalReplicas" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}yes{{ end }}
{{- end }}

{{/* resources with a GPU among the limits, of a dict with resources, name, count. */}}
{{- define "vl-genrm.resources" -}}
{{- $resources := deepCopy .resources }}
{{- if .count }}
{{- $_ := set $resources "limits" (merge (dict .name (toString .count)) (default dict $resources.limits)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{/* tolerations with that of a GPU's taint, of a dict with tolerations, name, count. */}}
{{- define "vl-genrm.tolerations" -}}
{{- $tolerations := .tolerations }}
{{- if .count }}
{{- $tolerations = append $tolerations (dict "key" .name "operator" "Exists" "effect" "NoSchedule") }}
{{- end }}
{{- with $tolerations -}}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A claim, of a dict with root, name, persistence. */}}
{{- define "vl-genrm.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
  labels:
    {{- include "vl-genrm.labels" .root | nindent 4 }}
  {{- $annotations := deepCopy .persistence.annotations }}
  {{- if .persistence.keep }}{{ $_ := set $annotations "helm.sh/resource-policy" "keep" }}{{ end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  accessModes:
    {{- toYaml .persistence.accessModes | nindent 4 }}
  {{- with .persistence.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .persistence.size }}
{{- end }}

{{/* The volume of a model cache, of a dict with cache and claim (the name of the chart's own). */}}
{{- define "vl-genrm.cacheVolume" -}}
- name: models
  {{- if .cache.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ default .claim .cache.persistence.existingClaim }}
    {{- if eq (join "" .cache.persistence.accessModes) "ReadOnlyMany" }}
    readOnly: true
    {{- end }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .cache.sizeLimit }}
  {{- end }}
{{- end }}
