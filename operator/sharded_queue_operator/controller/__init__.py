"""
The operator at work: news come in, one resource at a time is reconciled.

What belongs here brings the other folders together. A rule that can be told without the API server or Redis is a
value of `scaling` or `resource`.
"""
