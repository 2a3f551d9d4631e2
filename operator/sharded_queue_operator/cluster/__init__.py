"""
The API server: what is read from it and written to it, and what is known of workloads and pods.

Code here talks to Kubernetes and to nothing else; it knows nothing of Redis.
"""
