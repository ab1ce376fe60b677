from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engines.objects import INCOMING, KeyRefused, NoSuchObject, Objects, VersionConflict


def test_what_was_put_is_there_after_opening_again(tmp_path: Path) -> None:
    stored = Objects(tmp_path).put("a/b", b"content")
    again = Objects(tmp_path)
    assert again.read("a/b") == b"content"
    assert again.head("a/b") == stored
    assert again.read("a/b", 2, 4) == b"nt"


def test_a_new_version_is_put_only_over_the_expected_one(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    first = objects.put("mark", b"1", only_new=True)
    second = objects.put("mark", b"2", expected=first.etag)
    assert second.etag != first.etag
    for expected, only_new in ((first.etag, False), (None, True)):
        with pytest.raises(VersionConflict):
            objects.put("mark", b"3", expected, only_new)
    with pytest.raises(VersionConflict):
        objects.put("nothing", b"3", expected=first.etag)
    assert objects.read("mark") == b"2"


def test_versions_hold_across_a_restart(tmp_path: Path) -> None:
    first = Objects(tmp_path).put("mark", b"1")
    Objects(tmp_path).put("mark", b"2", expected=first.etag)
    with pytest.raises(VersionConflict):
        Objects(tmp_path).put("mark", b"3", expected=first.etag)


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", "a\0b", "a/", "x" * 256, f"{INCOMING}/x"]
)
def test_no_key_leads_out_of_the_directory(tmp_path: Path, key: str) -> None:
    objects = Objects(tmp_path / "inside")
    with pytest.raises(KeyRefused):
        objects.put(key, b"")
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", INCOMING]


def test_a_put_that_fails_leaves_the_version_before_and_nothing_else(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    before = objects.put("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            objects.put("a", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert objects.read("a") == b"old"
    assert objects.head("a") == before
    assert list((tmp_path / INCOMING).iterdir()) == []


def test_what_a_crash_left_half_written_is_gone_after_opening_again(tmp_path: Path) -> None:
    Objects(tmp_path)
    (tmp_path / INCOMING / "half").write_bytes(b"ha")
    objects = Objects(tmp_path)
    assert objects.list("").entries == []
    assert list((tmp_path / INCOMING).iterdir()) == []


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    objects.put("a/b", b"")
    objects.delete("a/b")
    objects.delete("a/b")
    with pytest.raises(NoSuchObject):
        objects.read("a/b")
    assert Objects(tmp_path).list("").entries == []


NAMES = st.text("ab-.\U0010fffd", min_size=1, max_size=2).filter(lambda name: name not in (".", ".."))
# a leaf never has the name of a folder, as in the broker's own layout
KEYS = st.sets(
    st.builds(lambda path, leaf: "/".join([*path, f"={leaf}"]), st.lists(NAMES, max_size=2), NAMES), max_size=12
)


@given(
    keys=KEYS,
    prefix=st.sampled_from(["", "a", "a/", "b/a"]),
    delimiter=st.sampled_from(["", "/"]),
    limit=st.integers(1, 4),
)
def test_pages_of_a_listing_together_name_every_key_once(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    objects = Objects(tmp_path_factory.mktemp("objects"))
    for key in keys:
        objects.put(key, b"")
    found: list[str] = []
    folded: list[str] = []
    after: str | None = ""
    while after is not None:
        page = objects.list(prefix, delimiter, after, limit)
        assert len(page.entries) + len(page.prefixes) <= limit
        found += [entry.key for entry in page.entries]
        folded += page.prefixes
        after = page.after
    matching = [key for key in keys if key.startswith(prefix)]
    deep = [key for key in matching if delimiter and delimiter in key[len(prefix) :]]
    assert found == sorted(set(matching) - set(deep))
    assert folded == sorted({prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter for key in deep})
