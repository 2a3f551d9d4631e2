{{- /* What the operator needs in a namespace whose ShardedQueues it serves, and nothing else. No wildcards. */ -}}
{{- define "sharded-queue.rules" -}}
# List all ShardedQueues and watch their changes; remove spec.replicas when a pin ends.
- apiGroups: [shardedqueue.dev]
  resources: [shardedqueues]
  verbs: [list, watch, patch]
# Report what it saw and decided.
- apiGroups: [shardedqueue.dev]
  resources: [shardedqueues/status]
  verbs: [patch]
# Create the workers of a ShardedQueue, revert changes of others, and watch whether they are ready. Server-side apply
# needs both create and patch. Only the garbage collector deletes them.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
# Find the ShardedQueue of a worker pod by the uids of its ReplicaSet and its Deployment.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
# Watch the worker pods, see which have ended, and mark the idle ones before a scale-down. Only the ReplicaSet deletes
# them.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# Read the workload that a scaleTargetRef names; write its original number on it, and restore that when the ShardedQueue
# is deleted. The list finds what was deleted while no operator ran. For Deployments, a rule above grants this.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, patch]
# Scale it.
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
# Report changes as Events.
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "sharded-queue.subject" -}}
- kind: ServiceAccount
  name: {{ include "sharded-queue.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
