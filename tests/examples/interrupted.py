"""
`interrupted.py KILL|STOP before|after MODULE.FUNCTION PROGRAM WORDS…`: the module PROGRAM, which gets a signal as it
calls a function for the first time, before or after the function does its work.
"""

import os
import runpy
import signal
import sys
from importlib import import_module
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

_, name, when, target, program, *words = sys.argv
sys.path.insert(0, str(Path.cwd()))
module_name, _, function_name = target.partition(".")
module = import_module(module_name)
function = getattr(module, function_name)
pending = [signal.Signals[f"SIG{name}"]]


def interrupt(moment: str) -> None:
    if pending and when == moment:
        os.kill(os.getpid(), pending.pop())


def interrupted(*arguments: Any, **options: Any) -> Any:
    interrupt("before")
    result = function(*arguments, **options)
    interrupt("after")
    return result


async def interrupted_async(*arguments: Any, **options: Any) -> Any:
    interrupt("before")
    result = await function(*arguments, **options)
    interrupt("after")
    return result


setattr(module, function_name, interrupted_async if iscoroutinefunction(function) else interrupted)
sys.argv = [program, *words]
runpy.run_module(program, run_name="__main__", alter_sys=True)
