"""
`make growth`: how rates, commands, memory and the longest block of Redis grow with workers, threads, requests, bytes.

A small model is fitted to what was measured, so that a user sizes a Redis. `model` and `plot` know nothing of Redis.
"""
