"""Acts as commands: their fields are arguments and options, and their plan is what `--dry-run` says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from inspect import cleandoc
from typing import Any

import click

from sharded_queue.admin import answers
from sharded_queue.admin.acts import Act, ActionContext, Given, Plan, Step, carry_out, given_fields, make
from sharded_queue.admin.handlers import named
from sharded_queue.backends.redis.storage import RedisStorage
from sharded_queue.cli.output import emit, read_about
from sharded_queue.options import NAME, module_options
from sharded_queue.printable import counted, printable
from sharded_queue.storage import STEP_NUMBERS

Texts = Mapping[str, Sequence[str]]
NEEDED = "  [required, but for --dry-run]"


def act_command(
    act: type[Act[Any]], *more: click.Parameter, read: Callable[[dict[str, Any]], Texts] = lambda _: {}
) -> click.Command:
    """The command of an act. *read* makes fields of what is given by *more* parameters."""
    hows = [how for _, how in given_fields(act) if not how.is_hidden]

    def run(handler: str, modules: tuple[str, ...], spread: int | None, **values: Any) -> None:
        (found,) = named([handler], modules, spread)
        if not values["is_planned"]:
            _must_have_said(hows, values)
        texts = {how.name: _texts(values[how.name]) for how in hows if how.name in values}
        asked = make(act, found, {**texts, **read(values)})
        is_sure = values.get("is_sure", not act.is_asked)

        async def do(storage: RedisStorage) -> Plan[Any] | Step[Any]:
            return await _do(ActionContext(storage), asked, is_sure=is_sure, is_planned=values["is_planned"])

        done = read_about(found, do, force=bool(values.get("force")))
        as_json = values["as_json"]
        if isinstance(done, Plan):
            plan = answers.Plan(question=done.question, effect=done.effect, total=done.total)
            emit(as_json, plan, printable(f"{done.question} {done.effect}"))
            return
        left = [f"{name}: {why}" for name, why in done.left.items()]
        emit(as_json, done.answer, *map(printable, asked.sentences(done)), *map(printable, left))
        if done.left or done.is_partial:
            raise SystemExit(1)

    required = {how.name for each, how in given_fields(act) if each.default is MISSING}
    params: list[click.Parameter] = [click.Argument(["handler"], type=NAME)]
    replaced = {parameter.name for parameter in more}
    params += [_parameter(how, how.name in required) for how in hows if how.name not in replaced]
    command = click.Command(
        act.name.split()[-1], params=[*params, *more], callback=run, help=cleandoc(act.__doc__ or "")
    )
    module_options(command)
    click.option("--dry-run", "is_planned", is_flag=True, help="Only say what it would do.")(command)
    if act.is_asked:
        click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")(command)
    click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(command)
    return command


def _parameter(how: Given, is_required: bool) -> click.Parameter:
    if how.is_flag or how.is_option:
        flag = f"--{how.name.replace('_', '-')}"
        if how.is_flag:
            return click.Option([flag, how.name], is_flag=True, help=how.help)
        option = click.Option([flag, how.name], type=NAME, help=how.help + NEEDED * how.is_required)
        if how.usual:
            option.default = how.usual
        return option
    return click.Argument([how.name], type=NAME, required=is_required, nargs=-1 if how.is_list else 1)


def _must_have_said(hows: Sequence[Given], values: Mapping[str, Any]) -> None:
    """
    Raises:
        UsageError: something is left out that only --dry-run does without.
    """
    for how in hows:
        if how.is_required and values.get(how.name) is None:
            raise click.UsageError(f"Missing option '--{how.name}'.", click.get_current_context())


def _texts(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["yes"] * value
    return [] if value is None else [value] if isinstance(value, str) else list(value)


async def _do(context: ActionContext, act: Act[Any], *, is_sure: bool, is_planned: bool) -> Plan[Any] | Step[Any]:
    """What became of it, or only what it would do."""
    plan = await act.plan(context)
    if is_planned:
        return plan
    if plan.total and not is_sure:
        click.echo(printable(plan.effect), err=True)
        click.confirm(printable(plan.question), abort=True, err=True)
    step, shown = None, 0
    async for step in carry_out(plan.act, context):
        if step.total > STEP_NUMBERS and len(step.done) > shown:
            shown = len(step.done)
            click.echo(f"{shown:,} of {counted(step.total, act.noun)}", err=True)
    assert step
    return step
