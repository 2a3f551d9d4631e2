"""
The program `sharded-queue`: words come in, tables or JSON go out.

What belongs here is about a command line; what a command does is a call of the library.
"""
