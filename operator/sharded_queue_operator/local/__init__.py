"""
`sharded-queue run`: this machine in place of a cluster, with processes in place of pods.

Code here decides by the same rules as the operator and needs no API server.
"""
