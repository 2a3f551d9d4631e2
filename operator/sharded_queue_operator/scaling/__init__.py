"""
How many workers a queue should have: from what was observed and what its user wants, to a number and its reason. Pure.

Code here takes values and returns values. It reads no clock and no network, and knows no Kubernetes.
"""
