{{- /* What the operator does in a namespace whose ShardedQueues it serves: nothing more, and no wildcard. */ -}}
{{- define "sharded-queue.rules" -}}
# Know all resources, and hear of their changes.
- apiGroups: [shardedqueue.dev]
  resources: [shardedqueues]
  verbs: [list, watch]
# Say what was seen and decided.
- apiGroups: [shardedqueue.dev]
  resources: [shardedqueues/status]
  verbs: [patch]
# Make the workers of a resource, put right what others changed, hear of their readiness. Server-side apply of what is
# not there yet takes create as well as patch. Deleting is the garbage collector's.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
# Tell by uids, from a pod to its ReplicaSet to its Deployment, whose worker a pod is.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
# Know the worker pods, see which have ended, and mark the idle ones before a scale-down. Deleting is the ReplicaSet's.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# Read the workload that a scaleTargetRef names.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get]
# Scale it, and change nothing else of it.
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [patch]
# Read the password and the certificate authority of a Redis.
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [get]
# Tell of changes.
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "sharded-queue.subject" -}}
- kind: ServiceAccount
  name: {{ include "sharded-queue.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
