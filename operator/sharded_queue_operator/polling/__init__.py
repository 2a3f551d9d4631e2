"""
Reads Redis for the operator: connections, readings at their times, and a doubt where Redis gives no answer.

Code here talks to Redis and to nothing else. It decides nothing and knows nothing of the API server.
"""
