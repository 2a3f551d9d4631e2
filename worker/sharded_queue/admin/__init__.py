"""
What people do to a queue and want to know of it, once for terminal, page and program.

What belongs here asks a storage or acts on it on behalf of a person, and says in words and typed answers what came of
it. How somebody is asked and shown something does not: that is `cli` and `web`, which both rest on this package.
"""
