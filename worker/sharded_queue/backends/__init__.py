"""
Where tubes and leases are kept: a folder for each backend, none of which knows of another.

What belongs here implements `Storage` and `Coordinator`, and nothing above this folder knows which of them it uses.
"""
