"""
The commands of `sharded-queue`, one per file.

A command reads its arguments, calls the library and prints. A wrong argument is a `click` error, anything else an error
of the library; `cli.program` gives both their exit codes.
"""
