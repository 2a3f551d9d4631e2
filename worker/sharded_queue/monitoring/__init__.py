"""
What a worker tells the outside of itself: metrics, health, and the HTTP server that both are read from.

What belongs here reads a worker or a storage, and changes neither.
"""
