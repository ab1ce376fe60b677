"""A backtest finds what changed, goes on where it was killed, and says what is wrong with a file."""

from __future__ import annotations

import gzip
import io
import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.offline.backtest import Onlooker, Plan, backtest
from streams.offline.checkpoint import Checkpoint
from streams.offline.replay import Standing
from streams.settings import Budget, ConfigurationError, Settings
from tests.program import TOCSIN, environment, tocsin
from tests.streams.offline.conftest import UNITS, Line, interactions, replayed, without_seconds

Write = Callable[..., Path]


def test_a_change_pages_after_it_began_and_says_what_how_large_and_since_when(
    whole: list[Line],
) -> None:
    *found, summary = whole
    first = next(page for page in found if page["stream"] == "prompt")
    assert set(first) >= {"stream", "segment", "position", "occurred_at", "began_estimate", "effect", "evidence"}
    assert 500 < first["position"] < 700
    assert int(first["interaction_id"][1:]) == UNITS + first["position"] - 1
    assert first["evidence"] >= 1
    assert first["effect"]["now"] > first["effect"]["before"]
    assert datetime.fromisoformat(first["began_estimate"]) < datetime.fromisoformat(first["occurred_at"])
    assert (summary["events"], summary["pages"]) == (UNITS + 1_000, len(found))


def test_the_summary_says_how_many_pages_chance_may_have_sent(write: Write, settings: Settings) -> None:
    """The budget of the time that was watched; of a gap an hour counts, as it does for the monitors."""
    lines = interactions(UNITS) + interactions(100, first=UNITS) + interactions(1, first=UNITS + 100 + 600)
    (summary,) = replayed(write(lines), settings)
    seconds = 100 * 300 + 3_600
    assert summary["expected_false_pages"] == pytest.approx(3 * seconds / (30 * 86_400))


def test_a_file_that_does_not_change_has_no_pages(write: Write, settings: Settings) -> None:
    (summary,) = replayed(write(interactions(UNITS + 600)), settings.model_copy(update={"budget": Budget()}))
    assert summary["pages"] == 0


def test_the_reference_may_be_another_file(
    history: list[Line], whole: list[Line], write: Write, settings: Settings
) -> None:
    """With the same pages as if it stood at the beginning of the file."""
    before, after = write(history[:UNITS], "before.jsonl"), write(history[UNITS:], "after.jsonl")
    apart = without_seconds(list(backtest(Plan(after, reference=before), settings)))
    assert apart[:-1] == whole[:-1]
    assert apart[-1] == whole[-1] | {"events": 1_000}


def test_a_gzipped_file_and_a_pipe_have_the_same_pages(
    history: list[Line], whole: list[Line], write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write(history).read_bytes()
    gzipped = settings.data_directory.with_name("history.jsonl.gz")
    gzipped.write_bytes(gzip.compress(content))
    assert replayed(gzipped, settings) == whole
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert replayed(Path("-"), settings) == whole


# -- going on --------------------------------------------------------------------------------------------------------


class Stop(Onlooker):
    """Gives up where it is told to, and remembers whether it went on from somewhere."""

    class Given(Exception):
        """Up."""

    def __init__(self, after: int) -> None:
        self.after, self.resumed_at = after, 0

    def resumed(self, standing: Standing) -> None:
        self.resumed_at = standing.before + standing.taken

    def advanced(self, standing: Standing, fraction: float | None) -> None:
        if standing.before + standing.taken >= self.after:
            raise self.Given


@pytest.fixture
def saving_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoint, "due", True)


@pytest.mark.usefixtures("saving_always")
@pytest.mark.parametrize("apart", [False, True], ids=["one file", "reference apart"])
def test_wherever_it_was_stopped_it_prints_what_an_uninterrupted_run_prints(
    history: list[Line], whole: list[Line], write: Write, settings: Settings, apart: bool
) -> None:
    plan = Plan(write(history), reference_first=UNITS)
    if apart:
        plan = Plan(write(history[UNITS:], "after.jsonl"), reference=write(history[:UNITS], "before.jsonl"))
    reached = []
    for after in (300, 2_000, UNITS + 100, UNITS + 600, UNITS + 900):
        stopped = Stop(after)
        with pytest.raises(Stop.Given):
            list(backtest(plan, settings, stopped))
        reached.append(stopped.resumed_at)
    assert reached[0] == 0 and reached[-1] > UNITS + 600  # the last one went on where the one before it had stopped
    again = without_seconds(list(backtest(plan, settings)))
    assert again == [*whole[:-1], whole[-1] | {"events": again[-1]["events"]}]
    assert not (settings.data_directory / "backtests").exists()  # what is done leaves nothing


@pytest.mark.usefixtures("saving_always")
@pytest.mark.parametrize("change", ["file", "budget", "reference", "fresh"])
def test_a_run_of_another_file_or_configuration_begins_anew(
    history: list[Line], write: Write, settings: Settings, change: str
) -> None:
    file, first = write(history), UNITS
    with pytest.raises(Stop.Given):
        list(backtest(Plan(file, reference_first=first), settings, Stop(1_000)))
    if change == "file":
        write([*history, *interactions(1, first=len(history))])
    elif change == "budget":
        settings = settings.model_copy(update={"budget": Budget(pages_per_30_days=2)})
    elif change == "reference":
        first += 1
    again = Stop(1)
    with pytest.raises(Stop.Given):
        list(backtest(Plan(file, reference_first=first, fresh=change == "fresh"), settings, again))
    assert again.resumed_at == 0


def test_two_runs_of_one_backtest_do_not_disturb_each_other(
    history: list[Line], write: Write, settings: Settings
) -> None:
    plan = Plan(write(history), reference_first=UNITS)
    first = backtest(plan, settings)
    next(first)
    with pytest.raises(ConfigurationError, match="is running already"):
        next(backtest(plan, settings))
    first.close()


def test_a_damaged_checkpoint_is_named(history: list[Line], write: Write, settings: Settings) -> None:
    plan = Plan(write(history), reference_first=UNITS)
    first = backtest(plan, settings)
    next(first)
    first.close()
    (file,) = settings.data_directory.rglob("*.sqlite")
    file.write_bytes(b"no database" * 1_000)
    with pytest.raises(ConfigurationError, match=rf"{file.name}: .*delete it"):
        next(backtest(plan, settings))


def test_a_place_that_cannot_be_written_is_named(history: list[Line], write: Write, settings: Settings) -> None:
    settings.data_directory.write_text("a file", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"Not a directory; name another place with --data"):
        next(backtest(Plan(write(history), reference_first=UNITS), settings))


def test_a_checkpoint_holds_the_units_that_are_needed_and_no_more(
    history: list[Line], write: Write, settings: Settings
) -> None:
    run = backtest(Plan(write(history), reference_first=UNITS), settings)
    next(run)
    run.close()
    (file,) = settings.data_directory.rglob("*.sqlite")
    with sqlite3.connect(file) as database:
        (units,) = database.execute("SELECT count(*) FROM units").fetchone()
    assert units <= 512


def test_a_killed_backtest_goes_on_and_prints_all(
    history: list[Line], whole: list[Line], write: Write, settings: Settings, tmp_path: Path
) -> None:
    command = ("backtest", str(write(history)), "--reference-first", str(UNITS), "--json")
    said = {"TOCSIN_BUDGET__PAGES_PER_30_DAYS": "3"}
    with subprocess.Popen(
        [*TOCSIN, *command], cwd=tmp_path, env=environment(said), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as killed:
        assert killed.stdout is not None
        first = killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
    assert json.loads(first) == whole[0]
    again = tocsin(*command, directory=tmp_path, settings=said)
    assert "an interrupted run goes on after" in again.stderr
    *pages, summary = again.stdout.splitlines()
    assert pages == [json.dumps(page, ensure_ascii=False) for page in whole[:-1]]  # byte for byte
    assert summary.startswith(json.dumps(whole[-1], ensure_ascii=False).removesuffix("}"))


# -- what files are like ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "it holds no interactions"),
        (["", "  "], "it holds no interactions"),
        (interactions(5), f"it holds 5 interactions, the reference alone takes {UNITS}"),
    ],
)
def test_a_file_that_is_too_short_is_refused_at_once(
    write: Write, settings: Settings, lines: Sequence[Any], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why if lines and lines[0] else "it holds no"):
        replayed(write(lines), settings)


def test_a_reference_under_the_least_is_refused_before_the_file_is_read(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="--reference-first 1999: a reference needs 2000 units"):
        replayed(tmp_path / "none", settings, first=1_999)


def test_a_reference_of_too_few_distinct_sessions_is_refused_with_its_reason(write: Write, settings: Settings) -> None:
    lines = [line | {"session_id": f"s{i % 100}"} for i, line in enumerate(interactions(UNITS))]
    with pytest.raises(ConfigurationError, match=r"the reference of shop is refused: .*100") as refused:
        replayed(write(lines), settings)
    assert "\n" not in str(refused.value)


def test_a_line_that_cannot_be_read_stops_it_and_is_named_by_its_number(write: Write, settings: Settings) -> None:
    lines = [*interactions(UNITS), "", "a secret", *interactions(9, first=UNITS)]
    with pytest.raises(ConfigurationError, match=f"line {UNITS + 2}: not JSON") as refused:
        replayed(write(lines), settings)
    assert "secret" not in str(refused.value)


def test_unreadable_lines_can_be_left_out_as_the_live_system_does(write: Write, settings: Settings) -> None:
    whole = interactions(UNITS + 50)
    lines = [*whole[:UNITS], "a secret", '{"prompt": 5}', *whole[UNITS:]]
    (summary,) = replayed(write(lines), settings, tolerant=True)
    (clean,) = replayed(write(whole), settings)
    assert summary == clean | {"unreadable": 2, "events": UNITS + 52}


def test_what_was_delivered_twice_counts_once(
    history: list[Line], whole: list[Line], write: Write, settings: Settings
) -> None:
    twice = [line for i, line in enumerate(history) for line in [line] * (1 + (i >= UNITS))]
    *pages, summary = replayed(write(twice), settings)
    assert pages == whole[:-1]
    assert summary == whole[-1] | {"duplicates": 1_000, "events": len(twice)}


def test_an_id_of_another_hour_is_another_interaction(write: Write, settings: Settings) -> None:
    lines = [line | {"interaction_id": f"i{i % (UNITS + 50)}"} for i, line in enumerate(interactions(UNITS + 100))]
    (summary,) = replayed(write(lines), settings)
    assert summary["duplicates"] == 0


def test_interactions_out_of_order_are_counted_and_bring_no_budget(write: Write, settings: Settings) -> None:
    lines = interactions(UNITS + 60)
    lines[UNITS:] = lines[UNITS:][::-1]
    (summary,) = replayed(write(lines), settings)
    assert summary["late"] == 59
    assert summary["expected_false_pages"] == pytest.approx(3 * 3_600 / (30 * 86_400))  # one gap, of an hour at most


def test_a_reference_of_two_encoders_is_refused_and_the_line_named(write: Write, settings: Settings) -> None:
    lines = [*interactions(1_500), *interactions(1_500, first=1_500, encoder="other")]
    with pytest.raises(ConfigurationError, match="line 1501: vectors of encoder other after those of test"):
        replayed(write(lines), settings)


def test_another_encoder_after_the_reference_is_counted_and_is_no_page(write: Write, settings: Settings) -> None:
    lines = [*interactions(UNITS + 20), *interactions(300, first=UNITS + 20, encoder="other")]
    (summary,) = replayed(write(lines), settings)
    assert (summary["pages"], summary["other_encoders"]) == (0, {"other": 300})


def test_vectors_of_another_length_from_one_encoder_are_an_error(write: Write, settings: Settings) -> None:
    short = {name: [1.0] + [0.0] * 22 for name in ("prompt_vector", "response_vector")}
    lines = [*interactions(UNITS), *interactions(1, first=UNITS, **short)]
    with pytest.raises(ConfigurationError, match=f"line {UNITS + 1}: vectors of another length"):
        replayed(write(lines), settings)


def test_applications_share_the_budget_and_one_with_too_little_is_named(write: Write, settings: Settings) -> None:
    others = [line | {"application": "desk"} for line in interactions(UNITS, first=50_000)]
    few = [line | {"application": "few"} for line in interactions(10, first=100_000)]
    lines = [line for pair in zip(interactions(UNITS), others, strict=True) for line in pair]
    lines += few + interactions(288, first=UNITS)
    (summary,) = replayed(write(lines), settings, first=2 * UNITS + 10)
    assert {"few", "shop", "desk"} & set(summary["not_watched"]) == {"few"}
    assert summary["expected_false_pages"] == pytest.approx(1 / 20)  # a day for one of the two, at one page in ten days


def test_a_mixture_of_stored_lines_and_texts_is_scored_where_it_must_be(write: Write, settings: Settings) -> None:
    """Texts come from the encoder of this installation, whose vectors do not compare with those of another."""
    texts = [{"application": "shop", "prompt": f"How is number {i}?", "response": "Fine."} for i in range(3)]
    (summary,) = replayed(write([*interactions(UNITS), *texts]), settings)
    assert sum(summary["other_encoders"].values()) == 3
    with pytest.raises(ConfigurationError, match=r"line 2: vectors of encoder .* after those of test"):
        replayed(write([*interactions(1), *texts, *interactions(UNITS, first=3)]), settings)


# -- for people ------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["backtest", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_people_get_a_table_and_what_to_do(history: list[Line], write: Write, tmp_path: Path) -> None:
    config = tmp_path / "budget.toml"
    config.write_text("[budget]\npages_per_30_days = 3\n", encoding="utf-8")
    lines = [*history[:-10], *history[-10:][::-1]]
    arguments = (str(write(lines)), "--reference-first", str(UNITS), "--data", str(tmp_path), "--config", str(config))
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    header, first, *_ = out.splitlines()
    assert header.split()[:2] == ["page", "at"]
    assert "prompt" in first
    assert "chance alone would have sent" in out
    assert "note: 9 interactions are older than one before them" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "--reference-first N"),
        (("--reference-first", "3000", "--reference", "x"), "--reference-first N"),
        (("--reference-first", "10"), "2000"),
        (("--reference-first", "2000"), "it holds 5 interactions"),
        (("--reference", "none.jsonl"), "none.jsonl: No such file"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(
    write: Write, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    code, out, err = run(str(write(interactions(5))), "--data", str(tmp_path), *arguments)
    assert (code, out) == (2, "")
    assert why in err
    assert len(err.strip().splitlines()) == 1
