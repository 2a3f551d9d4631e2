"""
Redis, as the operator reads it: connections, readings in their time, and what is in doubt when one fails.

What belongs here talks to Redis and to nothing else, and knows nothing of the API server.
"""
