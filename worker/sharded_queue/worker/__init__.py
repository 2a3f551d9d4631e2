"""
The serving side: a worker binds threads, handles their requests in order, and lets the threads go.

What belongs here runs in a worker process, for whatever backend it serves. Reading words of a command line belongs to
`cli`, and telling of a worker over HTTP to `monitoring`.
"""
