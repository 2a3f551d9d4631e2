"""
A real Kubernetes on this machine, for the tests: API server, controllers, scheduler, a node whose pods really run.

Here belongs what brings it up, takes it down and fills it with images; what is tested with it lives in `tests/e2e`.
Everything is built from source modules or comes from Debian, so neither Docker nor an image registry is needed.
Pods, Services and the node have addresses of 198.18.0.0/15, a range set aside for tests: no packet leaves the machine.
"""
