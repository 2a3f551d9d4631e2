"""
A real Kubernetes on this machine, for `make cluster`, tests and benchmarks: API server, controllers, scheduler, and a
node whose pods really run.

Here belongs what brings it up, takes it down and fills it with images. What is tested with it lives in `tests/`.
Everything is built from source modules or comes from Debian, so neither Docker nor an image registry is needed.
Pods, Services and the node have addresses of 198.18.0.0/15, a range set aside for tests: no packet leaves the machine.
"""
