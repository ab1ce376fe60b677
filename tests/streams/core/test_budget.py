"""The sum of all inflows is the budget, whatever shares it and however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.budget import LONGEST_GAP, SECONDS, Budget, elapsed

names = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(sharing=names, pages=st.floats(1e-3, 1e3), data=st.data())
def test_applications_share_the_budget_and_no_more(sharing: set[str], pages: float, data: st.DataObject) -> None:
    weights = data.draw(st.dictionaries(st.sampled_from(sorted(sharing)), st.floats(0.01, 100)))
    budget = Budget(pages, weights)
    rates = {name: budget.pages_per_second(name, sharing) for name in sharing}
    assert sum(rates.values()) * SECONDS == pytest.approx(pages)
    for name, rate in rates.items():
        assert rate * budget.weight(min(sharing)) == pytest.approx(rates[min(sharing)] * budget.weight(name))


def test_an_application_that_is_not_counted_yet_counts_itself_in() -> None:
    assert Budget(1).pages_per_second("new", {"a", "b"}) == pytest.approx(1 / 3 / SECONDS)
    assert Budget(1).pages_per_second("a", {"a", "b"}) == pytest.approx(1 / 2 / SECONDS)
    assert Budget(1).pages_per_second("alone", ()) == pytest.approx(1 / SECONDS)


def test_late_units_bring_nothing_and_a_gap_an_hour_at_most() -> None:
    assert elapsed(100.0, 99.0) == elapsed(100.0, 100.0) == 0
    assert elapsed(100.0, 130.0) == 30
    assert elapsed(100.0, 100.0 + LONGEST_GAP) == elapsed(100.0, 1e12) == LONGEST_GAP == 3600


@settings(max_examples=40, deadline=None)
@given(times=st.lists(st.floats(0, 1e9), min_size=1, max_size=60))
def test_the_inflow_of_any_order_of_times_is_within_the_time_that_passed(times: list[float]) -> None:
    clock, inflow = times[0], 0.0
    for time in times:
        inflow += elapsed(clock, time)
        clock = max(clock, time)
    assert inflow <= (max(times) - times[0]) * (1 + 1e-9)
