"""
The operator's figures, on a real cluster: a module for each, with a `measure` that yields its lines of the table.

`harness` holds what they share: a namespace, a Redis that pods can reach, a local operator process, and watches of the
API server that the operator knows nothing of.
"""
