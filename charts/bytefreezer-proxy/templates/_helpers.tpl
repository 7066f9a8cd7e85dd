{{/* Name of what belongs to the operator. */}}
{{- define "operator.name" -}}
{{- if contains "bytefreezer" .Release.Name -}}
{{- printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-bytefreezer-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of what has no namespace: two releases of one name in two namespaces must not share it. */}}
{{- define "operator.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "operator.name" .) -}}
{{- end -}}

{{- define "operator.serviceAccount" -}}
{{- default (include "operator.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Proxies let pods with this name reach their API. */}}
{{- define "operator.selector" -}}
app.kubernetes.io/name: bytefreezer-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: bytefreezer-proxy
{{- end -}}

{{/* An image: dict "root" $ "name" ... */}}
{{- define "operator.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s:%s" .name (default .root.Chart.AppVersion $image.tag) -}}
{{- if $image.registry }}{{ printf "%s/%s" (trimSuffix "/" $image.registry) $name }}{{ else }}{{ $name }}{{ end -}}
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a pod, and of a container. */}}
{{- define "operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Rules by name from rbac.yaml, which is generated: dict "root" $ "names" (list ...) */}}
{{- define "operator.rules" -}}
{{- $all := .root.Files.Get "rbac.yaml" | fromYaml -}}
{{- $rules := list -}}
{{- range .names -}}
{{- $rules = concat $rules (index $all .) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}
