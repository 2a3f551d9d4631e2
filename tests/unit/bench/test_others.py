"""What is said of other queues is what their handlers saw."""

import asyncio
import os
from xml.etree import ElementTree

import pytest

from bench import plot, report
from bench.environments import ARQ, OTHERS, OURS, PREDECESSOR, SCRIPTS, program_of
from bench.figure import Figure
from bench.others.comparison import Comparison
from bench.others.crash import Crash
from bench.others.handover import Handover
from bench.others.order import Order, out_of_order
from bench.others.rates import JOBS, Rates, Sample, sized
from bench.others.script import Line, kill, parsed
from bench.page import marks, with_part
from bench.scale import FULL, QUICK

SAMPLE = Sample(1000.0, 900.0, 5.0, 4.0, 3.0, 2.0, 100.0)


@pytest.fixture
def comparison() -> Comparison:
    return Comparison(
        [Rates(OURS, "its best", SAMPLE), Rates(ARQ, "one at a time", SAMPLE._replace(handle=90.0))],
        [Handover(OURS.name, 0.5, 0.9), Handover(ARQ.name, 2.0, 30.0)],
        [Order(OURS.name, (0, 0, 0), 60), Order(ARQ.name, (0, 7, None), 60)],
        [Crash(OURS.name, 14.6, 14.7, False, 90.0), Crash(ARQ.name, None, 0.9, True, 90.0)],
    )


def lines(*words: str) -> list[Line]:
    return [Line(*each.split(), at) for at, each in enumerate(words)]


def told(*words: str) -> list[Line]:
    return [line._replace(number=int(line.number)) for line in lines(*words)]


def test_jobs_one_after_another_are_in_order():
    assert out_of_order(told("begin 1", "end 1", "begin 2", "end 2")) == 0


def test_a_job_that_overtakes_is_too_early():
    assert out_of_order(told("begin 2", "end 2", "begin 1", "end 1")) == 1


def test_a_job_beside_an_earlier_one_is_too_early_though_it_began_later():
    assert out_of_order(told("begin 1", "begin 2", "end 1", "begin 3", "end 2", "end 3")) == 2


def test_lines_of_several_workers_are_merged_by_time():
    assert out_of_order(told("begin 1", "end 1", "begin 2", "end 2")[::-1]) == 0


@pytest.mark.parametrize("words", ["", "begin", "begin one 5", "started 1 5", "begin 1 5 6", "Some log: begin 1"])
def test_what_a_queue_logs_is_no_line_of_a_job(words):
    assert parsed(words) is None


def test_a_line_has_the_seconds_of_its_nanoseconds():
    assert parsed("end 7 1500000000\n") == Line("end", 7, 1.5)


@pytest.mark.slow
def test_a_killed_script_takes_along_what_it_started_in_groups_of_their_own():
    """The sleep holds the output open as long as it lives."""

    async def started_and_killed() -> bytes:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", "set -m; sleep 60 & echo $!; wait", stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert process.stdout
        child = int(await process.stdout.readline())
        assert os.getpgid(child) != process.pid
        kill(process)
        await process.wait()
        async with asyncio.timeout(20):
            return await process.stdout.read()

    assert asyncio.run(started_and_killed()) == b""


def test_both_tables_have_a_row_for_each_queue_and_its_cells_say_what_happened(comparison):
    rates, behaviour = comparison.rates_table(), comparison.behaviour_table()

    assert {len(row) for row in rates} == {9}
    assert {len(row) for row in behaviour} == {7}
    assert behaviour[1][2:] == ("kept", "kept", "kept", "again after 14.6 s", "after 14.7 s")
    assert behaviour[2][1:] == ("2 / 30 ms", "kept", "7 of 60 too early", "failed", "lost", "after 0.9 s")


@pytest.mark.parametrize(
    ("crash", "job", "following"),
    [
        (Crash("", None, None, False, 90.0), "not within 90 s", "not within 90 s"),
        (Crash("", None, 1.0, False, 90.0), "not within 90 s", "after 1 s, before it"),
        (Crash("", 31.0, 1.0, False, 90.0), "again after 31 s", "after 1 s, before it"),
        (Crash("", None, 1.0, True, 90.0), "lost", "after 1 s"),
    ],
)
def test_a_crash_says_whether_the_next_job_overtook_the_interrupted_one(crash, job, following):
    table = Comparison(handovers=[Handover("", 1.0, 2.0)], crashes=[crash]).behaviour_table()

    assert table[1][-2:] == (job, following)


def test_the_picture_says_what_is_compared(comparison):
    picture = ElementTree.fromstring(plot.drawn([Figure("a ratio", 1.0, "×", "", 0.7)], comparison))
    words = " ".join(element.text or "" for element in picture.iter("{http://www.w3.org/2000/svg}text"))

    assert "handled a second by one worker process: at its best, one at a time" in words
    assert "Bytes of Redis for a waiting request" in words
    assert "Milliseconds from register to an idle worker's handler" in words
    assert f"{ARQ.name}, one at a time" in words


def test_a_cost_too_small_to_be_measured_does_not_cost_the_picture(comparison):
    nothing = Rates(ARQ, "its best", SAMPLE._replace(bytes=-3.0))
    few = Comparison([*comparison.rates, nothing], comparison.handovers)

    assert ElementTree.fromstring(plot.drawn([Figure("a ratio", 1.0, "×", "", 0.7)], few)) is not None


def part_of(text, name):
    begin, end = marks(name)
    return text.partition(begin)[2].partition(end)[0].strip()


def test_a_run_writes_its_parts_and_keeps_those_of_others(comparison, tmp_path, monkeypatch):
    before = report.PAGE.read_text()
    monkeypatch.setattr(report, "PAGE", tmp_path / "page.md")
    report.PAGE.write_text(before)

    report.write({"Machine": "2 cores"}, [], comparison)

    after = report.PAGE.read_text()
    for other in ("growth", "blocks"):
        assert part_of(before, other)
        assert part_of(after, other) == part_of(before, other)
    assert part_of(after, "run").endswith("by `make bench`\n- Machine: 2 cores")
    assert f"- {ARQ.name}: {ARQ.remark}." in part_of(after, "remarks")
    assert "## Where the time goes" in after


def test_a_part_is_replaced_alone():
    text = with_part("before\n<!-- x: written by a program -->\nold\n<!-- end of x -->\nafter", "x", "new")

    assert part_of(text, "x") == "new"
    assert text.startswith("before\n")
    assert text.endswith("\nafter")


def test_a_page_without_the_part_is_refused():
    with pytest.raises(ValueError, match="0 times"):
        with_part("nothing", "x", "new")


def test_every_queue_has_a_script_pinned_versions_and_a_remark():
    for each in (PREDECESSOR, *OTHERS):
        assert (SCRIPTS / each.script).exists()
        assert all("==" in package or "@" in package for package in each.packages)
        assert each.remark


def test_without_node_its_queue_is_left_out_and_says_why(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")

    assert program_of(OTHERS[-1]) is None
    assert "left out: node and npm are not installed" in capsys.readouterr().out


def test_every_queue_is_measured_at_its_best_and_one_at_a_time():
    for each in (OURS, *OTHERS):
        assert {job.how for job in JOBS if job.competitor is each} >= {"best", "single"}


@pytest.mark.parametrize("scale", [FULL, QUICK])
def test_many_threads_stay_threads_of_one_request_at_any_scale(scale):
    for job in (sized(job, scale) for job in JOBS):
        assert job.requests >= 100
        assert job.threads in (1, job.requests)
