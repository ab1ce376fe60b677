"""The queue on disk: in order, bounded, whole after a crash, and safe among processes."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tocsin.spool import Spool, SpoolFull
from tocsin.transports import Message

LARGE = 100_000_000


def message(text: str) -> Message:
    return Message("tocsin.interactions", b"shop/s", text.encode())


def messages(*texts: object) -> list[Message]:
    return [message(str(text)) for text in texts]


def drained(spool: Spool, limit: int = 500) -> list[str]:
    """Everything in the spool, settled."""
    found: list[str] = []
    while batch := spool.take(limit):
        found += [one.value.decode() for one in batch]
        spool.settle(len(batch))
    return found


def segment_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/*.spool"))


def test_nothing_is_made_on_disk_before_the_first_message_and_nothing_is_left_after_the_last(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "b", LARGE)
    assert spool.recover() == 0
    assert list(tmp_path.iterdir()) == []
    spool.append(messages("one"))
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    for path in (tmp_path / "a" / "b").glob("*/*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert drained(spool) == ["one"]
    spool.close()
    assert list((tmp_path / "a" / "b").iterdir()) == []


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.lists(st.text(max_size=40_000), min_size=1, max_size=4) | st.integers(1, 5) | st.none(), max_size=25
    )
)
def test_messages_come_out_whole_and_in_order_whatever_is_done(
    steps: list[list[str] | int | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory, 1_000_000)  # segments of 125 kB
    put: list[str] = []
    got: list[str] = []
    for step in steps:
        if isinstance(step, list):
            spool.append([Message("t", "k ä\n".encode(), one.encode("utf-8", "replace")) for one in step])
            put += [one.encode("utf-8", "replace").decode() for one in step]
        elif isinstance(step, int):
            batch = spool.take(step)
            got += [one.value.decode() for one in batch]
            spool.settle(len(batch))
        else:  # another process takes over
            spool.close()
            spool = Spool(directory, 1_000_000)
            spool.recover()
            del got[len(put) - spool.waiting :]  # a segment that was delivered in part comes again
    got += drained(spool)
    assert spool.dropped == 0
    assert got == put
    assert spool.waiting == spool.size_bytes == 0
    spool.close()


def test_over_the_limit_the_oldest_make_room_and_are_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000)
    for i in range(500):
        spool.append(messages(f"{i:04}" + "x" * 5_000))
    on_disk = sum(file.stat().st_size for file in segment_files(tmp_path))
    assert 800_000 < on_disk <= 1_000_000
    left = [int(text[:4]) for text in drained(spool)]
    assert left == list(range(500 - len(left), 500))
    assert spool.dropped == 500 - len(left)


def test_what_is_in_hand_when_its_segment_is_dropped_is_settled_and_not_counted_as_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000)
    spool.append(messages("in hand", "x" * 200_000))
    assert [one.value for one in spool.take(1)] == [b"in hand"]
    for _ in range(30):
        spool.append(messages("x" * 100_000))
    assert spool.dropped + spool.waiting == 32
    spool.settle(1)
    assert spool.dropped + spool.waiting == 31
    assert len(drained(spool)) == 31 - spool.dropped


def test_one_that_keeps_all_refuses_instead(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000, keep_all=True)
    taken = 0
    with pytest.raises(SpoolFull):
        for i in range(500):
            spool.append(messages(f"{i:04}" + "x" * 5_000))
            taken += 1
    full = spool.has_room
    assert len(drained(spool)) == taken > 150
    assert (full, spool.has_room) == (False, True)
    assert spool.dropped == 0


def test_a_torn_tail_and_a_spoilt_line_take_no_other_message_with_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LARGE)
    spool.append(messages(*range(10)))
    spool.close()
    (file,) = segment_files(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b"4", b"5", 1) if lines[4][:8] != lines[4][:8].replace(b"4", b"5") else b"x" + lines[4]
    file.write_bytes(b"".join(lines) + lines[0][:-7])
    other = Spool(tmp_path, LARGE)
    assert other.recover() == 10
    assert drained(other) == [str(i) for i in range(10) if i != 4]
    assert (other.dropped, other.waiting) == (1, 0)


def test_files_that_somebody_has_removed_or_cut_off_are_counted_and_stop_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000)
    for _ in range(4):
        spool.append(messages(*["x" * 70_000] * 2))
    first, second, *_ = segment_files(tmp_path)
    first.unlink()
    second.write_bytes(second.read_bytes()[:100_000])
    spool.append(messages("last"))
    assert drained(spool)[-1] == "last"
    assert (spool.dropped, spool.waiting) == (3, 0)


def test_what_a_living_process_holds_is_left_to_it_and_what_a_dead_one_left_is_taken_by_one(tmp_path: Path) -> None:
    first = Spool(tmp_path, LARGE)
    first.append(messages("first"))
    second, third = Spool(tmp_path, LARGE), Spool(tmp_path, LARGE)
    assert not second.orphaned()
    assert second.recover() == 0
    first.close()
    assert second.orphaned()
    second.append(messages("second"))
    assert second.recover() == 1
    assert third.recover() == 0
    assert drained(second) == ["first", "second"]  # what was left behind is older
    assert second.recovered == 1
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_several_processes_share_a_directory_and_its_limit(tmp_path: Path) -> None:
    spools = [Spool(tmp_path, 2_000_000) for _ in range(3)]
    for i in range(300):
        for spool in spools:
            spool.append(messages(f"{i:04}" + "x" * 10_000))
    # each may have two segments of 250 kB where the others have filled the directory
    assert sum(file.stat().st_size for file in segment_files(tmp_path)) <= 2_000_000 + 3 * 2 * 250_000
    for spool in spools:
        assert drained(spool)[-1].startswith("0299")


def test_a_disk_that_takes_nothing_raises_and_what_was_there_is_whole(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writes end in the middle, as there."""
    program = f"""
import resource, signal
from pathlib import Path
from tocsin.spool import Spool
from tocsin.transports import Message
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path({str(tmp_path)!r}), {LARGE})
spool.append([Message("t", b"k", b"before")])
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
for _ in range(3):
    try:
        spool.append([Message("t", b"k", b"x" * 20_000)])
        raise SystemExit("it was taken")
    except OSError:
        pass
spool.append([Message("t", b"k", b"small")])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.append([Message("t", b"k", b"after")])
assert spool.waiting == 3, spool.waiting
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    spool = Spool(tmp_path, LARGE)
    assert spool.recover() == 3
    assert drained(spool) == ["before", "small", "after"]


def test_a_directory_that_cannot_be_written_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        Spool(tmp_path / "file" / "spool", LARGE).append(messages("one"))


def test_a_forked_child_leaves_the_spool_to_its_parent(tmp_path: Path) -> None:
    program = f"""
import os, time
from pathlib import Path
from tocsin.spool import Spool
from tocsin.transports import Message
spool = Spool(Path({str(tmp_path)!r}), {LARGE})
spool.append([Message("t", b"k", b"parent")])
if os.fork() == 0:
    spool.abandon()
    print("abandoned", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"abandoned\n"
        spool = Spool(tmp_path, LARGE)
        assert spool.recover() == 0  # the parent holds it still
        parent.kill()
        parent.wait()
        assert spool.recover() == 1  # and the child, which lives, does not
        os.killpg(parent.pid, signal.SIGKILL)
    assert drained(spool) == ["parent"]
