from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sinks.report import FEWEST_VALUES, MOST_ROWS, ReportFailed, comparable, make_report, read_rows

NAN, INF = float("nan"), float("inf")


def rows(count: int, mean: float) -> list[dict[str, float]]:
    """Scores as they come: steady, constant, binary, with holes, seldom known, on one side only."""
    rng = random.Random(mean)
    return [
        {
            "toxicity": rng.gauss(mean, 1),
            "constant": 1.0,
            "refusal": float(number % 3 == 0),
            "relevance": rng.random() if number % 2 else NAN,
            "cost": INF if number % 5 == 0 else rng.random(),
            **({"seldom": 1.0} if number < FEWEST_VALUES - 1 else {}),
            f"only_{mean}": 1.0,
        }
        for number in range(count)
    ]


class Links(HTMLParser):
    """Every address that a browser would load by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
        self.found += [text or "" for name, text in attrs if name == wanted.get(tag)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "deep" / "incident.html"
    assert make_report(rows(300, 0.0), rows(120, 0.7), out) == out
    assert [found.name for found in out.parent.iterdir()] == ["incident.html"]
    return out.read_text()


def test_the_report_shows_the_scores_that_can_be_compared(page: str) -> None:
    for score in ("toxicity", "constant", "refusal", "relevance", "cost"):
        assert score in page
    for score in ("seldom", "only_0.0", "only_0.7"):
        assert score not in page


def test_the_headline_does_not_deny_that_one_score_moved(page: str) -> None:
    assert "Dataset Drift is detected" in page


def test_the_report_loads_nothing_from_elsewhere(page: str) -> None:
    links = Links()
    links.feed(page)
    assert [link for link in links.found if not link.startswith("data:")] == []
    assert not re.search(r"url\(\s*[\"']?https?:", page)
    assert 100_000 < len(page) < 20_000_000


def test_too_few_values_are_a_failure_in_words(tmp_path: Path) -> None:
    with pytest.raises(ReportFailed, match=r"^no score has 10 values in both"):
        make_report(rows(300, 0), rows(3, 0), tmp_path / "r.html")
    with pytest.raises(ReportFailed, match=r"^no score has 10 values in both"):
        make_report([], [], tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(ReportFailed, match=r"not ready within 0\.01 seconds"):
        make_report(rows(300, 0), rows(300, 0), tmp_path / "r.html", timeout_seconds=0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReportFailed, match="FileExistsError"):
        make_report(rows(20, 0), rows(20, 0), tmp_path / "file" / "r.html")


def test_many_rows_are_sampled_the_same_way_each_time(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("".join(f'{{"n": {number}}}\n' for number in range(MOST_ROWS + 100)))
    first, second = read_rows(path), read_rows(path)
    assert len(first) == MOST_ROWS
    assert first.equals(second)


def test_infinite_and_absent_values_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text('{"a": 1.0, "b": null}\n' * FEWEST_VALUES)
    assert comparable(read_rows(path), read_rows(path)) == ["a"]


def test_the_caller_never_imports_evidently() -> None:
    source = "import sys, sinks.report; sys.exit('evidently' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], check=False, env=os.environ).returncode == 0
