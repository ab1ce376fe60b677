"""Records of a file: whatever it is packed in they are the same, and a file that is broken off says so."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.offline.interactions import bounds_of_history, interaction_of, parsed
from streams.offline.records import Record, open_records
from streams.settings import ConfigurationError, Limits
from tests.streams.offline.conftest import interactions

BOUNDS = bounds_of_history(Limits())


def read(file: Path) -> list[Record]:
    with open_records(file) as records:
        return list(records)


def test_blank_lines_count_in_the_numbers_and_are_no_records(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\n{"text": "a"}\n  \n\r\n{"text": "b"}')
    assert [(each.number, each.value.strip()) for each in read(file)] == [(2, b'{"text": "a"}'), (5, b'{"text": "b"}')]


def test_a_gzipped_file_is_known_by_its_beginning(tmp_path: Path, write: Callable[..., Path]) -> None:
    file = write(interactions(3))
    gzipped = tmp_path / "named-anyhow"
    gzipped.write_bytes(gzip.compress(file.read_bytes()))
    assert read(gzipped) == read(file)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_file_that_breaks_off_is_an_error_and_no_end(tmp_path: Path, kept: float) -> None:
    file = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(b'{"text": "a secret"}\n' * 10_000)
    file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ConfigurationError, match=r"a\.jsonl\.gz: cannot be read any further") as refused:
        read(file)
    assert "secret" not in str(refused.value)


def test_a_file_that_only_begins_like_parquet_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(file)


def test_a_row_of_parquet_says_what_its_line_says(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = interactions(600)
    rows = [line | {"occurred_at": datetime.fromisoformat(line["occurred_at"])} for line in lines]
    file = tmp_path / "rows"
    kinds = {"signals": pa.map_(pa.string(), pa.float64()), "interaction_id": pa.binary()}
    columns = {name: pa.array([row[name] for row in rows], kinds.get(name)) for name in rows[0] if name != "signals"}
    columns["signals"] = pa.array([list(row["signals"].items()) for row in rows], kinds["signals"])
    pq.write_table(pa.table(columns), file)
    found = [interaction_of(record.value, 0, BOUNDS) for record in read(file) if isinstance(record.value, dict)]
    assert found == [interaction_of(line, 0, BOUNDS) for line in lines]


def test_an_unzoned_time_of_parquet_is_utc(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    pq.write_table(pa.table({"prompt": ["a"], "response": ["b"], "occurred_at": [datetime(2026, 1, 1)]}), file)
    (record,) = read(file)
    plain = parsed(record, BOUNDS)
    assert isinstance(plain, dict)
    assert plain["occurred_at"].isoformat() == "2026-01-01T00:00:00+00:00"


def test_a_pipe_is_read_once_and_has_no_size(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_bytes, args=(b'{"text": "a"}\n' * 5,))
    writing.start()
    with open_records(pipe) as records:
        assert len(list(records)) == 5
        assert (records.lasting, records.fraction) == (False, None)
    writing.join()


def test_standard_input_is_a_file_named_by_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps({"text": "a"}).encode())))
    assert [each.number for each in read(Path("-"))] == [1]


def test_the_fraction_that_was_read_goes_from_nothing_to_all(write: Callable[..., Path]) -> None:
    with open_records(write(interactions(500))) as records:
        next(records)
        assert 0 < (records.fraction or 0) < 0.5
        records.skip(10**6)
        assert records.fraction == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"), open_records(tmp_path / "none"):
        pass


def test_rows_of_csv_are_records_under_the_names_of_its_first_line(tmp_path: Path) -> None:
    text = '\ufeffprompt;model.name\r\n"two\r\nlines; ""quoted""";m\r\n\r\nplain;\r\none;two;three\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode())
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(text.replace(";", "\t").encode()))
    expected = [
        Record(2, {"prompt": 'two\r\nlines; "quoted"', "model.name": "m"}),
        Record(5, {"prompt": "plain"}),  # an empty cell says nothing
        Record(6, {"prompt": "one", "model.name": "two", "unnamed": ["three"]}),
    ]
    assert read(tmp_path / "a.csv") == expected
    tabs = [{name: str(cell).replace("; ", "\t ") for name, cell in each.value.items()} for each in expected[:2]]
    assert [each.value for each in read(tmp_path / "a.tsv.gz")][:2] == tabs


def test_csv_that_breaks_off_in_a_quote_is_an_error_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('prompt,response\n"no end,', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be read any further"):
        read(file)
    file.write_text("", encoding="utf-8")
    assert read(file) == []


def test_a_cell_may_be_as_long_as_a_message(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"prompt\n{'x' * 1_000_000}\n", encoding="utf-8")
    with open_records(file) as records:
        (record,) = records
        assert len(record.value["prompt"]) == 1_000_000
        assert records.fraction == 1
