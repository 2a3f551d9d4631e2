"""
The API server: what is read from it and written to it, and what is known of workloads and pods.

What belongs here talks to Kubernetes and to nothing else, and knows nothing of Redis.
"""
