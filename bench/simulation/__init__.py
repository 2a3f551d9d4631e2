"""
Workers that come and go, on a simulated timeline: the operator's own decision beside the formula of message counts.

Nothing here knows Redis or Kubernetes, and nothing of the decision is written again: `lanes.py` calls the operator's.
"""
