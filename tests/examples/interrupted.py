"""
`interrupted.py KILL|STOP before|after MODULE.FUNCTION PROGRAM WORDS…`: the module PROGRAM, which gets a signal as it
calls a function for the first time, before or after the function does its work. `FIRST:MODULE.FUNCTION` imports the
module FIRST before MODULE.

The signal goes to the OS thread of the call: it does nothing more, while one to the process might reach another OS
thread first.
"""

import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

_, name, when, target, program, *words = sys.argv
sys.path.insert(0, str(Path.cwd()))
first, _, target = target.rpartition(":")
if first:
    import_module(first)
module_name, _, function_name = target.rpartition(".")
module = import_module(module_name)
function = getattr(module, function_name)
pending = [signal.Signals[f"SIG{name}"]]


@contextmanager
def interrupted() -> Iterator[None]:
    """Around the first call. The program says how the call ended, in case that it goes on."""
    if not pending:
        yield
        return
    if when == "before":
        signal.pthread_kill(threading.get_ident(), pending.pop())
    try:
        yield
    except Exception as error:
        print(f"{target} raised {error!r}", flush=True)
        raise
    if when == "after":
        signal.pthread_kill(threading.get_ident(), pending.pop())
    print(f"{target} returned", flush=True)


def call(*arguments: Any, **options: Any) -> Any:
    with interrupted():
        return function(*arguments, **options)


async def call_async(*arguments: Any, **options: Any) -> Any:
    with interrupted():
        return await function(*arguments, **options)


setattr(module, function_name, call_async if iscoroutinefunction(function) else call)
sys.argv = [program, *words]
runpy.run_module(program, run_name="__main__", alter_sys=True)
