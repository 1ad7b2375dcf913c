{{- define "strongroom.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "strongroom.selector" -}}
app.kubernetes.io/name: strongroom
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "strongroom.labels" -}}
{{ include "strongroom.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{- define "strongroom.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Every node by the name that its pod keeps. */}}
{{- define "strongroom.peers" -}}
{{- $name := include "strongroom.name" . -}}
{{- $root := . -}}
{{- $peers := list -}}
{{- range $n := until (int .Values.replicas) -}}
{{- $peers = append $peers (printf "%s-%d=%s-%d.%s-nodes.%s.svc.%s:8201" $name $n $name $n $name $root.Release.Namespace $root.Values.clusterDomain) -}}
{{- end -}}
{{- join "," $peers -}}
{{- end -}}

{{- define "strongroom.hosts" -}}
{{- $name := include "strongroom.name" . -}}
{{- $service := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- $default := list $name (printf "%s.%s" $name .Release.Namespace) $service (printf "%s.%s" $service .Values.clusterDomain) -}}
{{- join "," (.Values.allowedHosts | default $default) -}}
{{- end -}}
