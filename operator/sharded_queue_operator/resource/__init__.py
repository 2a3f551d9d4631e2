"""
A ShardedQueue: what is asked for (its spec), what is made from it (a Deployment), and what is said of it (its status).

Pure values, as dicts of the Kubernetes API or read from them. Sending or fetching them belongs to `cluster`.
"""
