"""
How many workers there should be. Pure: from what was observed and what a user asked for to a number and its reason.

What belongs here takes values and gives values: no clock, no network, no Kubernetes.
"""
