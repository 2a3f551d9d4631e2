"""
Other queues beside this one: rates and costs, hand-over, order, and what a `kill -9` costs.

Each queue is a script of `bench/competitors`, run as a process of its own in an environment of its own. Each kind of
measurement is a module here, whose `measure` yields a line for each queue.
"""
