{{- define "sharded-queue.environment" -}}
- name: OPERATOR_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: OPERATOR_LEASE_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
# kopf asks for the name of its user. The image has no name for a numeric user ID.
- {name: USER, value: operator}
- {name: OPERATOR_LEASE_NAME, value: {{ include "sharded-queue.operator" . }}}
- {name: OPERATOR_HTTP_PORT, value: {{ .Values.service.port | quote }}}
{{- with .Values.watchNamespaces }}
- {name: OPERATOR_NAMESPACES, value: {{ join "," . | quote }}}
{{- end }}
- {name: OPERATOR_ALLOWED_REDIS, value: {{ join "," .Values.allowedRedis | quote }}}
{{- range $key, $value := .Values.settings }}
- {name: OPERATOR_{{ snakecase $key | upper }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}
