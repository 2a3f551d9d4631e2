"""
Tubes and leases in the memory of this process: for tests, and for work that need not outlive it.

The same steps as the Lua scripts of the Redis backend; a model test compares the two after every step.
"""
