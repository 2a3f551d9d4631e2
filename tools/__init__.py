"""What makes, checks and runs parts of the repository: used by `make`, tests and benchmarks, and never installed."""
