"""
The operator at work: news comes in, and each resource is reconciled.

Code here brings the other folders together. A rule that needs neither the API server nor Redis belongs in `scaling` or
`resource`.
"""
