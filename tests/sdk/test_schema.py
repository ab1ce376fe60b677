from pathlib import Path

import pytest

from tocsin import schema

COMMITTED = Path(__file__).parents[2] / "docs" / "schema"


def test_the_committed_schemas_are_those_of_the_code() -> None:
    assert schema.stale(COMMITTED) == []


def test_a_check_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main([str(tmp_path)]) == 0
    assert schema.main([str(tmp_path), "--check"]) == 0
    (tmp_path / "page.schema.json").write_text("{}")
    (tmp_path / "gone.schema.json").write_text("{}")
    assert schema.main([str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().err
    assert "page.schema.json" in said
    assert "gone.schema.json" in said
