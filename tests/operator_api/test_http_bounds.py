"""The operator's port under clients that try to use it up: the figure is the memory of the process."""

from tests.harness.http_flood import asked, bombs, drips, peak_mebibytes
from tools.operator_process import Operator

MEBIBYTES = 14
"""What the operator may need beyond its own at rest, with 60 heads of 6.4 MB that do not end."""


def test_sixty_heads_without_an_end_cost_the_operator_no_memory(operator: Operator) -> None:
    assert "sharded_queue_operator" in operator.page("/metrics")
    at_rest = peak_mebibytes(operator.process.pid)
    answers = []
    with bombs(operator.port, 60):
        answers += [asked(operator.port) for _ in range(20)]

    peak = peak_mebibytes(operator.process.pid)
    print(f"peak {at_rest:.1f} MiB at rest, {peak:.1f} MiB; slowest answer {max(s for _, s in answers):.3f} s")
    assert {text for text, _ in answers} == {"ok"}
    assert peak - at_rest <= MEBIBYTES


def test_drips_keep_nobody_from_asking_the_operator(operator: Operator) -> None:
    with drips(operator.port, 400):
        answers = [asked(operator.port) for _ in range(20)]

    assert {text for text, _ in answers} == {"ok"}
