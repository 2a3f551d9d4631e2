"""
`make bench`: the engine beside bare Redis commands and beside other queues, in one run on one machine.

Here belongs what measures; what must hold belongs in `tests`. Every figure is a ratio to something measured in the same
run, in turns with it, wherever the machine's speed would otherwise be part of the answer.
"""
