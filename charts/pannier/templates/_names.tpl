{{- /* What objects are called, how they are labelled, and what all pods have in common. */}}

{{- define "pannier.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $both .Values.fullnameOverride | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- /* Of a dict with `root` and `component`. */}}
{{- define "pannier.name" -}}
{{ include "pannier.fullname" .root }}-{{ .component }}
{{- end }}

{{- define "pannier.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pannier.labels" -}}
{{ include "pannier.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pannier
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The metadata of a namespaced object. */}}
{{- define "pannier.metadata" -}}
name: {{ include "pannier.name" . }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "pannier.labels" . | nindent 2 }}
{{- end }}

{{- /* Of a dict with `root` and `image`, one of `images`. */}}
{{- define "pannier.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end -}}
{{- end }}

{{- /* Labels and annotations of a component's pods. */}}
{{- define "pannier.podMetadata" -}}
{{- $values := index .root.Values .component -}}
labels:
  {{- include "pannier.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What a component's pods have beside containers and volumes. */}}
{{- define "pannier.pod" -}}
{{- $values := index .root.Values .component -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
enableServiceLinks: false
{{- range $part := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $values $part }}
{{ $part }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "pannier.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "pannier.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "pannier.metadata" . | nindent 2 }}
automountServiceAccountToken: false # its pods ask for it by name
{{- end }}

{{- /* Rules (`rules`, YAML) for a component's ServiceAccount: in the cluster, or in each of `namespaces`. */}}
{{- define "pannier.grant" -}}
{{- $name := include "pannier.name" . -}}
{{- $kind := ternary "Role" "ClusterRole" (not (empty .root.Values.namespaces)) -}}
{{- $context := . -}}
{{- range $namespace := default (list "") .root.Values.namespaces }}
{{- range $suffix := list "" "Binding" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}{{ $suffix }}
metadata:
  name: {{ $name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "pannier.labels" $context | nindent 4 }}
{{- if $suffix }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ $name }}}
subjects: [{kind: ServiceAccount, name: {{ $name }}, namespace: {{ $context.root.Release.Namespace }}}]
{{- else }}
rules: {{- $context.rules | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Ingress from those that may scrape. */}}
{{- define "pannier.scraping" -}}
- ports: [{protocol: TCP, port: metrics}]
  {{- with .Values.networkPolicy.scrapers }}
  from: {{ toJson . }}
  {{- end }}
{{- end }}

{{- /* Egress to DNS and the API server. */}}
{{- define "pannier.asking" -}}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{- /* Of a dict with `name`, the component's, and `certificate`, its values. */}}
{{- define "pannier.certificateSecret" -}}
{{ default (printf "%s-certificate" .name) .certificate.secretName }}
{{- end }}

{{- /* What cert-manager makes for a component's Service; a dict with its values as `certificate`, too. */}}
{{- define "pannier.certificate" -}}
{{- $name := include "pannier.name" . -}}
{{- $service := printf "%s.%s.svc" $name .root.Release.Namespace -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {{- include "pannier.metadata" . | nindent 2 }}
spec:
  secretName: {{ include "pannier.certificateSecret" (dict "name" $name "certificate" .certificate) }}
  dnsNames: [{{ $service }}, {{ $service }}.cluster.local]
  duration: 2160h
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  issuerRef: {{ default (dict "name" $name) .certificate.issuerRef | toJson }}
{{- end }}
