{{- /* What objects are called, how they are labelled, and what all pods have in common. */}}

{{- define "pannier.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- if not (regexMatch "^[a-z]" (default $both .Values.fullnameOverride)) }}
{{- fail (printf "no Service may be called %s-…: begin with a letter, by --set fullnameOverride=NAME" $both) }}
{{- end }}
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

{{- /* Of a dict with `more`, too: labels of this object's own, which win over those of all. */}}
{{- define "pannier.labels" -}}
{{ include "pannier.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pannier
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with merge (dict) (default dict .more) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The metadata of a namespaced object; of a dict with `suffix` and `annotations`, too, if it has them. */}}
{{- define "pannier.metadata" -}}
name: {{ list (include "pannier.name" .) .suffix | compact | join "-" }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "pannier.labels" . | nindent 2 }}
{{- with .annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
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
labels: {{- include "pannier.labels" (merge (dict "more" $values.podLabels) .) | nindent 2 }}
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

{{- /* A quantity as a number, for comparisons: 0.5 of 500m, 2048 of 2Ki. */}}
{{- define "pannier.number" -}}
{{- $units := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 0x1p10 "Mi" 0x1p20 "Gi" 0x1p30 "Ti" 0x1p40 "Pi" 0x1p50 "Ei" 0x1p60 }}
{{- $unit := regexFind "[a-zA-Z]+$" (toString .) }}
{{- trimSuffix $unit (toString .) | float64 | mulf (get $units $unit) }}
{{- end }}

{{- /* Fails where one value is more than another: `small` and `large`, their names in `smaller` and `larger`. */}}
{{- define "pannier.atMost" -}}
{{- if and .small .large (gt (include "pannier.number" .small | float64) (include "pannier.number" .large | float64)) }}
{{- fail (printf "%s is %v, and %s only %v: raise one or lower the other" .smaller .small .larger .large) }}
{{- end }}
{{- end }}

{{- /* The resources of a component's container. */}}
{{- define "pannier.resources" -}}
{{- $resources := (index .root.Values .component).resources }}
{{- $name := printf "%s.resources" .component }}
{{- range $what, $asked := $resources.requests }}
{{- include "pannier.atMost" (dict "small" $asked "smaller" (printf "%s.requests.%s" $name $what)
      "large" (get (default dict $resources.limits) $what) "larger" (printf "%s.limits.%s" $name $what)) }}
{{- end }}
{{- toYaml $resources }}
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

{{- /*
Rules (`rules`, YAML) for a component's ServiceAccount, perhaps by a name with a `suffix`: in each
namespace of `in`, where "" is all of the cluster, or else wherever the release works.
*/}}
{{- define "pannier.grant" -}}
{{- $context := . -}}
{{- $account := include "pannier.name" . -}}
{{- $name := list $account .suffix | compact | join "-" -}}
{{- range $namespace := coalesce .in .root.Values.namespaces (list "") }}
{{- $kind := empty $namespace | ternary "ClusterRole" "Role" }}
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
  {{- with $context.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if $suffix }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ $name }}}
subjects: [{kind: ServiceAccount, name: {{ $account }}, namespace: {{ $context.root.Release.Namespace }}}]
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
