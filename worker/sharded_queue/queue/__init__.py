"""
The registering side: requests become entries of tubes.

What belongs here runs in a producer, for one call of `Queue`; middleware, which is around both sides, also in a worker.
Where requests are kept is a backend's business, and what is done with them a worker's.
"""
