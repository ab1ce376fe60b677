"""The Grafana dashboard: every query runs on the real engine, with the macros as the data source writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

GRAFANA = Path(__file__).parents[2] / "dashboards" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "tocsin.json").read_text())
# 2026-11-20 00:00 to 24:00 UTC, in the form in which the official ClickHouse data source substitutes its macros
MACROS = (
    (r"\$__timeFilter\((\w+)\)", r"\1 >= toDateTime(1795132800) AND \1 <= toDateTime(1795219200)"),
    (r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)"),
    (r"\$\{application:sqlstring\}", "'support-bot','it''s'"),
    (r"\$\{signal:sqlstring\}", "'prompt.toxicity'"),
)


class Store(Protocol):
    def query(self, sql: str, parameters: Mapping[str, Any] = ...) -> list[dict[str, Any]]: ...


def queries() -> Iterator[tuple[str, str, str]]:
    """Name, kind and SQL of everything that the dashboard asks."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["queryType"], target["rawSql"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], "table", annotation["target"]["rawSql"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["name"], "table", variable["query"]["rawSql"]


def substituted(sql: str) -> str:
    for macro, text in MACROS:
        sql = re.sub(macro, text, sql)
    return sql


@pytest.mark.parametrize(("name", "kind", "sql"), queries())
def test_every_query_runs(store: Store, name: str, kind: str, sql: str) -> None:
    plain = substituted(sql)
    assert "$" not in plain, f"{name} has a macro that is not known here"
    store.query(plain)


@pytest.mark.parametrize(("name", "kind", "sql"), [one for one in queries() if one[1] == "timeseries"])
def test_a_series_has_a_time_and_a_range(name: str, kind: str, sql: str) -> None:
    assert "AS time" in sql and "$__timeFilter(" in sql and "$__timeInterval(" in sql


def test_no_query_reads_what_people_asked_or_were_answered() -> None:
    texts = re.compile(r"\b(prompt|response|context|raw|explanation|subject_id)\b")
    for name, _, sql in queries():
        assert not texts.search(sql), name


def test_panels_have_ids_titles_and_descriptions_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for box in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_uses_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/clickhouse.yaml").read_text())["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    assert all(panel["datasource"] == wanted for panel in DASHBOARD["panels"])
    assert source["secureJsonData"]["password"].startswith("$"), "passwords come from the environment"
