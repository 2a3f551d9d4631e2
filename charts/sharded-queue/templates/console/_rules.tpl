{{- define "sharded-queue.consoleRules" -}}
# List the ShardedQueues that the operator serves, to show them.
- apiGroups: [shardedqueue.dev]
  resources: [shardedqueues]
  verbs: [list]
{{- end -}}

{{- define "sharded-queue.consoleSubject" -}}
- kind: ServiceAccount
  name: {{ include "sharded-queue.console" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
