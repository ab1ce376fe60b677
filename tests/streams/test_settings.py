"""Where settings come from, and the one line that says what is wrong with them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from streams.cli import app
from streams.settings import ConfigurationError, Section, Settings, effective, load

Write = Callable[[str], Path]
KEY = f'[[gateway.keys]]\nname = "k"\nsha256 = "{"a" * 64}"\nscopes = ["publish"]\n'
LOGIN = f'login_user = "ann"\nlogin_sha256 = "{"b" * 64}"\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a tocsin.toml, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TOCSIN_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(toml: str) -> Path:
        file = tmp_path / "settings.toml"
        file.write_text(toml, encoding="utf-8")
        return file

    return written


def test_without_any_configuration_everything_has_a_default_on_loopback() -> None:
    settings, origin = load()
    assert origin == {}
    assert settings.gateway.host == "127.0.0.1" and settings.budget.pages_per_30_days == 1.0


def test_a_variable_with_one_underscore_where_two_belong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_BUDGET_PAGES_PER_30_DAYS", "7")
    with pytest.raises(ConfigurationError, match="is it TOCSIN_BUDGET__PAGES_PER_30_DAYS"):
        load()


def test_what_kubernetes_sets_beside_a_service_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_GATEWAY_PORT", "tcp://10.0.0.7:8321")
    assert load()[0].gateway.port == 8321


def test_the_file_then_the_environment_then_flags(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write('log_level = "error"\n[gateway]\nport = 1001\nmax_batch = 11\nmax_in_flight = 12\n')
    monkeypatch.setenv("TOCSIN_GATEWAY__PORT", "1002")
    monkeypatch.setenv("TOCSIN_GATEWAY__MAX_BATCH", "22")
    settings, origin = load(file, {"gateway": {"port": 1003}})
    assert (settings.gateway.port, settings.gateway.max_batch, settings.gateway.max_in_flight) == (1003, 22, 12)
    assert origin == {
        "gateway.port": "flag",
        "gateway.max_batch": "environment",
        "gateway.max_in_flight": str(file),
        "log_level": str(file),
    }


def test_the_file_of_the_working_directory_is_read_by_itself(tmp_path: Path) -> None:
    (tmp_path / "tocsin.toml").write_text("[watch]\nreference_units = 3000\n", encoding="utf-8")
    settings, origin = load()
    assert settings.watch.reference_units == 3000
    assert origin == {"watch.reference_units": "tocsin.toml"}


def test_applications_may_have_any_name(write: Write) -> None:
    settings, _ = load(write('[applications."support bot"]\nweight = 2.5\n'))
    assert settings.applications["support bot"].weight == 2.5


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[gateway]\nprot = 1\n", "gateway.prot: there is no such setting; is it gateway.port? ("),
        ("[gatewy]\nport = 1\n", "gatewy: there is no such setting"),
        ('[gateway]\nport = "many"\n', "gateway.port: Input should be a valid integer"),
        ("[gateway]\nport = 70000\n", "gateway.port: Input should be less than or equal to 65535"),
        ("gateway = 5\n", "gateway: Input should be a valid dictionary"),
        ("[watch]\nreference_units = 1999\n", "watch.reference_units: Input should be greater than or equal to 2000"),
        ("[budget]\npages_per_30_days = 0\n", "budget.pages_per_30_days: Input should be greater than 0"),
        ('log_level = "loud"\n', "log_level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ('[clickhouse]\ndatabase = "a; DROP"\n', "clickhouse.database: String should match pattern"),
        (
            '[[gateway.keys]]\nname = "k"\nsha256 = "x"\nscopes = ["read"]\n',
            "gateway.keys.0.sha256: String should match",
        ),
        ("[applications.shop]\nweight = -1\n", "applications.shop.weight: Input should be greater than 0"),
        ('[retraining]\ntarget = "command"\n', "retraining.target is 'command' without retraining.command"),
        ('[retraining]\ntarget = "webhook"\n', "retraining.target is 'webhook' without retraining.webhook_url"),
        ('[gateway]\nlogin_user = "ann"\n', "gateway.login_user is set without gateway.login_sha256"),
        ("[gateway\nport = 1\n", "settings.toml: "),
        ("\x00", "settings.toml: "),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_field(write: Write, toml: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        load(write(toml))
    assert named in str(wrong.value) and "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("TOCSIN_GATEWAY__PORT", "many", "gateway.port: "),
        ("TOCSIN_GATEWAY__PROT", "1", "gateway.prot: there is no such setting; is it gateway.port? (environment)"),
        ("TOCSIN_LOG_LEVEL", "loud", "log_level: "),
        ("TOCSIN_GATEWAY", "no json", "gateway"),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_the_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as wrong:
        load()
    assert named in str(wrong.value) and "\n" not in str(wrong.value) and "None" not in str(wrong.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.toml: no such file"):
        load(tmp_path / "gone.toml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "tocsin.example"])
@pytest.mark.parametrize(("given", "safe"), [("", False), (LOGIN, False), (LOGIN + KEY, True), (KEY, False)])
def test_beyond_loopback_it_does_not_start_without_keys_and_a_login(
    write: Write, host: str, given: str, safe: bool
) -> None:
    file = write(f'[gateway]\nhost = "{host}"\n{given}')
    if safe:
        assert load(file)[0].gateway.host == host
    else:
        with pytest.raises(ConfigurationError, match=r"gateway\.host is not loopback"):
            load(file)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_keys(write: Write, host: str) -> None:
    assert load(write(f'[gateway]\nhost = "{host}"\n'))[0].gateway.host == host


SECRET = "hunter2hunter2"


def test_secrets_are_hidden_wherever_settings_are_shown(write: Write) -> None:
    file = write(
        f'[clickhouse]\npassword = "{SECRET}"\n[notification]\nurls = ["json://u:{SECRET}@localhost"]\n'
        f'[retraining]\nsecret = "{SECRET}"\n'
    )
    settings, _ = load(file)
    shown = CliRunner().invoke(app, ["config", "show", "--json", "--config", str(file)])
    assert shown.exit_code == 0
    for text in (repr(settings), str(settings), json.dumps(effective(settings)), shown.output):
        assert SECRET not in text and "*****" in text


def test_a_wrong_secret_is_not_repeated(write: Write) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        load(write(f'[notification]\nurls = [["{SECRET}"]]\n'))
    assert SECRET not in str(wrong.value)


def test_config_show_names_every_setting_with_its_value_and_source(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("[watch]\nreference_units = 3000\n")
    monkeypatch.setenv("TOCSIN_BROKER__PARTITIONS", "7")
    shown = CliRunner().invoke(app, ["config", "show", "--json", "--config", str(file)])
    rows = {row["setting"]: (row["value"], row["source"]) for row in json.loads(shown.output)}
    assert rows["watch.reference_units"] == (3000, str(file))
    assert rows["broker.partitions"] == (7, "environment")
    assert rows["gateway.port"] == (8321, "default")
    assert set(rows) == set(effective(load(file)[0]))


def test_a_wrong_configuration_ends_the_program_with_2_and_one_line(write: Write) -> None:
    file = write("[gateway]\nport = -1\n")
    ended = CliRunner().invoke(app, ["config", "check", "--config", str(file)])
    assert ended.exit_code == 2
    assert ended.stderr.strip() == f"tocsin: gateway.port: Input should be greater than or equal to 0 ({file})"
    assert ended.stdout == ""


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting; tables of settings are gone into."""
    for name, field in model.model_fields.items():
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        tables = [each for each in inner if isinstance(each, type) and issubclass(each, Section)]
        if tables and getattr(field.annotation, "__origin__", None) is not list:
            yield from leaves(tables[0], f"{prefix}{name}.")
        else:
            yield prefix + name, field


def test_every_setting_is_described() -> None:
    found = dict(leaves(Settings))
    assert len(found) > 35
    assert [name for name, field in found.items() if not field.description] == []


def test_the_fingerprint_follows_what_a_detectors_answer_depends_on_and_nothing_else(write: Write) -> None:
    plain = load()[0].fingerprint
    same = "[gateway]\nport = 1\n[scoring]\nthreads = 7\nbatch = 9\n[limits]\nretention_days = 3\n"
    assert load(write(same))[0].fingerprint == plain
    assert load(write("[budget]\npages_per_30_days = 2\n"))[0].fingerprint != plain
    assert load(write("[watch]\nreference_units = 2001\n"))[0].fingerprint != plain


def test_settings_that_score_differently_have_different_fingerprints(write: Write) -> None:
    http = "[[scoring.http_scorers]]\nname = 'mood'\nurl = 'http://127.0.0.1/{}'\noutputs = [{{name = '{}'}}]\n{}\n"
    heavy = "[[scoring.heavy]]\nkind = 'guard'\nname = 'guard'\nmodel = '{}'\n"
    files = [
        "",
        "[scoring]\nprecision = 'fp32'\n",
        "[scoring]\nmodel = 'another'\n",
        "[limits]\ntext_characters = 200\n",
        http.format("a", "calm", ""),
        http.format("b", "calm", ""),
        http.format("a", "glad", ""),
        http.format("a", "calm", "reads = 'interactions'"),
        heavy.format("a"),
        heavy.format("b"),
    ]
    assert len({load(write(file))[0].fingerprint for file in files}) == len(files)
    secret = http.format("a", "calm", "headers = {Authorization = 'Bearer s'}\ntime_limit_seconds = 9")
    assert load(write(secret))[0].fingerprint == load(write(files[4]))[0].fingerprint


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    settings, _ = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.log_level = "debug"  # type: ignore[misc]
