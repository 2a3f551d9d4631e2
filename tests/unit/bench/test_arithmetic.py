"""The bench adds up right: medians, ratios, percentiles, and what counts as met."""

import pytest

from bench.arithmetic import paired_ratio, percentile, spread
from bench.figure import Figure, number
from bench.plot import margin


def test_a_percentile_is_a_value_that_was_measured():
    values = [5.0, 1.0, 3.0, 2.0, 4.0]

    assert (percentile(values, 50), percentile(values, 99), percentile(values, 20)) == (3.0, 5.0, 1.0)


def test_the_99th_of_a_thousand_leaves_ten_above_it():
    assert percentile([float(value) for value in range(1, 1001)], 99) == 990.0


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_there_is_no_percentile_of_nothing_and_none_beyond_all(values, percent):
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, percent)


def test_a_slow_round_slows_both_sides_and_not_the_ratio():
    assert paired_ratio([100.0, 10.0, 100.0], [200.0, 20.0, 200.0]) == 0.5


def test_the_ratio_is_that_of_the_middle_round():
    assert paired_ratio([1.0, 2.0, 90.0], [1.0, 1.0, 1.0]) == 2.0


def test_rounds_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        paired_ratio([1.0], [1.0, 2.0])


def test_spread_is_the_largest_to_the_smallest():
    assert spread([2.0, 4.0, 3.0]) == 2.0


@pytest.mark.parametrize(
    ("measured", "sense", "is_met"),
    [(0.7, "≥", True), (0.69, "≥", False), (0.698, "≥", True), (0.7, "≤", True), (0.71, "≤", False), (0.7, "<", False)],
)
def test_a_figure_is_judged_as_it_is_shown(measured, sense, is_met):
    assert Figure("", measured, "×", "", 0.7, sense).is_met is is_met


def test_a_figure_without_a_target_is_neither_met_nor_missed():
    figure = Figure("", 1.0, "×")

    assert (figure.is_met, figure.verdict, figure.target) == (None, "", "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.00794, "0.0079"), (0.5, "0.5"), (15.04, "15"), (123.4, "123"), (704321.0, "704,321")],
)
def test_numbers_are_shown_with_the_digits_that_count(value, shown):
    assert number(value) == shown


def test_a_margin_above_one_is_better_whatever_the_sense():
    assert margin(Figure("", 1.4, "", "", 0.7, "≥")) == margin(Figure("", 0.5, "", "", 1, "≤")) == 2.0
