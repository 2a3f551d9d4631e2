"""How far the replicas may fall: a worker goes only when it holds nothing."""

import pytest

from sharded_queue_operator.scaling.surplus import (
    SWAPS,
    Candidate,
    Cordons,
    Removal,
    Stage,
    choose_surplus,
    plan_scale_down,
)

CORDONED = Cordons(dict.fromkeys("abcd", 10.0))


def workers(**holds: int) -> list[Candidate]:
    """Of the names a to d, the newest last."""
    return [Candidate(name, holds.get(name, 0), holds.get(name, 0), created=name) for name in "abcd"]


def stages(replicas: int, cordons: Cordons, read_at: float, **holds: int) -> str:
    """W, C, E or G for each of four workers, and the replicas."""
    plan = plan_scale_down(workers(**holds), 4, replicas, cordons, read_at)
    return "".join(plan.stages[name].name[0] for name in "abcd") + f" {plan.replicas}"


def surplus(replicas: int, *others: Candidate, **threads: int) -> str:
    """The names of the workers that are to go, of a to d and *others*."""
    return "".join(sorted(choose_surplus([*workers(**threads), *others], replicas, Cordons(), Removal.CHOSEN)))


def test_workers_without_threads_go_first_then_those_with_the_fewest_then_the_newest() -> None:
    assert surplus(2, c=1, d=1) == "ab"
    assert surplus(2, b=1) == "cd"
    assert surplus(3, a=1, b=1, c=1, d=1) == "d"
    assert surplus(2, a=1, b=3, c=2, d=4) == "ac"
    assert surplus(4) == surplus(9) == ""


def test_workers_that_are_not_ready_go_first_as_the_replica_set_takes_them_anyway() -> None:
    assert surplus(5, Candidate("e", progress=1), Candidate("f", progress=2)) == "e"


def test_the_stages_on_the_way_out() -> None:
    assert stages(4, Cordons(), 11, a=1) == "WWWW 4"
    assert stages(1, Cordons(), 11, a=1, b=1) == "WCCC 4"
    assert stages(1, CORDONED, 10, a=1, b=1) == "WCCC 4"
    assert stages(1, CORDONED, 11, a=1, b=1) == "WCGG 2"
    assert stages(1, CORDONED, 11, a=1) == "WGGG 1"


@pytest.mark.parametrize("threads", [0, 1])
def test_a_worker_that_holds_a_thread_stays_even_if_it_is_drained(threads: int) -> None:
    held = [Candidate("a", threads, 1)]

    assert plan_scale_down(held, 1, 0, Cordons({"a": 10.0}), 11).stages == {"a": Stage.CORDONED}


def test_workers_that_do_not_exist_are_not_let_go_in_place_of_busy_ones() -> None:
    """Of six that are wanted, two cannot be created."""
    plan = plan_scale_down(workers(a=1, b=1, c=1, d=1), 6, 1, CORDONED, 11)

    assert (plan.replicas, plan.names(Stage.GONE)) == (4, frozenset())


def test_a_worker_that_is_cordoned_already_is_chosen_again() -> None:
    cordons = Cordons({"a": 10.0})
    assert stages(3, cordons, 10) == "CWWW 4"
    assert stages(3, cordons, 10, a=1) == "WWWC 4"
    assert stages(3, cordons._replace(swaps=SWAPS), 10, a=1) == "CWWW 4"


def test_any_may_go_where_the_workload_chooses_and_so_none_does_while_one_is_busy() -> None:
    def plan(cordons: Cordons, **holds: int) -> tuple[set[Stage], int]:
        made = plan_scale_down(workers(**holds), 4, 2, cordons, 11, Removal.UNKNOWN)
        return set(made.stages.values()), made.replicas

    assert plan(Cordons(), a=1) == ({Stage.WANTED}, 4)
    assert plan(Cordons()) == ({Stage.CORDONED}, 4)
    assert plan(CORDONED) == ({Stage.GONE}, 2)


@pytest.mark.parametrize(("busy", "replicas"), [("w-1", 2), ("w-3", 4), ("w-0", 1), ("", 1)])
def test_of_a_stateful_set_the_highest_go_and_wait_for_those_above_them(busy: str, replicas: int) -> None:
    names = {f"w-{ordinal}": ordinal for ordinal in range(4)}
    set_ = [Candidate(name, name == busy, name == busy, ordinal=ordinal) for name, ordinal in names.items()]

    assert plan_scale_down(set_, 4, 1, Cordons(dict.fromkeys(names, 10.0)), 11, Removal.HIGHEST).replicas == replicas
