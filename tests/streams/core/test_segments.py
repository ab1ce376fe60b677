"""Which parts of the traffic are watched by themselves: named, counted, elected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.segments import ELECTED_EVERY, LEARNING_AT_ONCE, Tally, elect, names_of

SHARES = st.dictionaries(st.sampled_from([f"a={i}" for i in range(60)]), st.floats(0, 1), max_size=60)
NAMES = st.sets(st.sampled_from([f"a={i}" for i in range(60)]), max_size=32)


def test_a_unit_is_in_the_segment_of_every_configured_field() -> None:
    fields = {"template": "greet 7", "attribute region": "eu", "attribute plan": "pro", "model": "m 1"}
    assert names_of(fields, ["template", "attribute region"]) == ("attribute region=eu", "template=greet 7")
    assert names_of(fields, ["attribute *"]) == ("attribute plan=pro", "attribute region=eu")
    assert names_of(fields, []) == ()


def test_a_value_too_long_to_be_a_name_makes_no_segment() -> None:
    assert names_of({"attribute note": "x" * 200, "model": "m"}, ["attribute *", "model"]) == ("model=m",)


def test_shares_follow_the_traffic_and_forget_what_was() -> None:
    tally = Tally()
    shares: dict[str, float] = {}
    for epoch in range(30):
        for i in range(ELECTED_EVERY):
            tally.add(["old"] if epoch < 10 else ["new"] if i % 4 == 0 else [])
        shares = tally.close()
        if epoch == 9:
            assert shares == {"old": 1.0}
    assert shares["new"] == pytest.approx(0.25, abs=0.02) and shares["old"] < 0.1


def test_a_field_with_a_value_of_its_own_in_every_unit_takes_no_room() -> None:
    tally = Tally()
    for epoch in range(5):
        for i in range(ELECTED_EVERY):
            tally.add([f"id={epoch}-{i}"])
        assert len(tally.volumes) <= ELECTED_EVERY
        tally.close()
    assert tally.volumes == {}


def test_the_largest_begin_and_neither_the_tiny_nor_the_whole() -> None:
    shares = {"whole": 0.99, "tiny": 0.001} | {f"s{i}": 0.02 * (i + 1) for i in range(6)}
    assert elect(shares, (), (), 32, LEARNING_AT_ONCE) == (set(), {"s2", "s3", "s4", "s5"})


def test_what_shrank_or_became_nearly_everything_is_forgotten() -> None:
    shares = {"shrunk": 0.004, "small": 0.006, "large": 0.94, "all": 0.96}
    assert elect(shares, {"shrunk", "small", "large", "all", "gone"}, (), 32, 4) == ({"small", "large"}, set())


def test_a_newcomer_takes_a_place_only_if_it_is_twice_as_large() -> None:
    held = {"a": 0.2, "b": 0.1}
    assert elect(held | {"c": 0.19}, {"a", "b"}, (), 2, 4) == ({"a", "b"}, set())
    assert elect(held | {"c": 0.21}, {"a", "b"}, (), 2, 4) == ({"a"}, {"c"})
    assert elect(held | {"c": 0.19}, {"a"}, {"b"}, 32, 1) == ({"a"}, {"b"})
    assert elect(held | {"c": 0.21}, {"a"}, {"b"}, 32, 1) == ({"a"}, {"c"})


def test_fewer_places_than_before_leave_the_largest() -> None:
    shares = {f"s{i}": 0.02 * (i + 1) for i in range(6)}
    assert elect(shares, set(shares), (), 2, 4) == ({"s4", "s5"}, set())


@given(shares=SHARES, watched=NAMES, learning=NAMES, most=st.integers(1, 40), at_once=st.integers(0, 6))
def test_an_election_keeps_its_bounds_and_another_changes_nothing(
    shares: dict[str, float], watched: set[str], learning: set[str], most: int, at_once: int
) -> None:
    old, young = elect(shares, watched, learning - watched, most, at_once)
    assert old <= watched and not old & young
    assert len(old | young) <= most
    assert len(young) <= max(at_once, len(learning - watched))
    assert all(0.005 <= shares[name] <= 0.95 for name in old | young)
    assert elect(shares, old, young, most, at_once) == (old, young), "segments of like size do not flap"
