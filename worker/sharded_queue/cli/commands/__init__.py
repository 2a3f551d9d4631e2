"""
The commands of `sharded-queue`, one a file, and nothing that is not about a command line.

A command reads its words, calls the library and prints. What is wrong with the words is a `click` error, what is wrong
beyond them an error of the library; `cli` gives both their exit codes.
"""
