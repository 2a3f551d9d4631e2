"""
A ShardedQueue: what its user asks for (spec), what is made from it (a Deployment), and what is reported of it (status).

Pure values, as dicts of the Kubernetes API or parsed from them. Sending and fetching them belongs to `cluster`.
"""
