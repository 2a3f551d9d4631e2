{{- define "sharded-queue.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sharded-queue.operator" -}}
{{- include "sharded-queue.name" . }}-operator
{{- end -}}

{{- define "sharded-queue.redis" -}}
{{- include "sharded-queue.name" . }}-redis
{{- end -}}

{{- define "sharded-queue.console" -}}
{{- include "sharded-queue.name" . }}-console
{{- end -}}

{{- define "sharded-queue.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else -}}
{{- ternary (include "sharded-queue.operator" .) "default" .Values.serviceAccount.create -}}
{{- end -}}
{{- end -}}

{{- define "sharded-queue.image" -}}
{{- .Values.image.repository -}}
{{- if hasPrefix "@" .Values.image.tag -}}{{- .Values.image.tag -}}{{- else -}}:{{- .Values.image.tag -}}{{- end -}}
{{- end -}}

{{- /* Labels that select the pods of a component. They never change, because the selector of a Deployment cannot. */ -}}
{{- define "sharded-queue.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "sharded-queue.labels" -}}
{{ include "sharded-queue.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* An object of the chart, in which the fields of a value replace its own. The text "none" removes a field. */ -}}
{{- define "sharded-queue.merged" -}}
{{- $merged := fromYaml .ours -}}
{{- range $key, $value := .theirs -}}
{{- if eq (toString $value) "none" }}{{ $_ := unset $merged $key }}{{ else }}{{ $_ := set $merged $key $value }}{{ end -}}
{{- end -}}
{{- toYaml $merged -}}
{{- end -}}

{{- define "sharded-queue.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "sharded-queue.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}
