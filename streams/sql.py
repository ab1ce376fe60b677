"""Free SQL for analysts on an engine that has no restricted users: one SELECT over our own tables, nothing else.

ClickHouse's `readonly` is no sandbox (`INTO OUTFILE` writes, `file()` reads), so the statement is parsed first, and
what runs is written anew from what was understood, without comments, until writing anew changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it warns by quoting the statement

TABLES = frozenset(
    {
        *(
            "interactions",
            "feedback",
            "dead_letters",
            "dead_letter_replays",
            "ledger",
            "detector_states",
            "references",
            "evidence",
        ),
        *("fairness", "swaps", "verdicts", "estimates"),
        *("pages", "incidents", "incident_events", "outbox", "notifications", "retraining_runs", "schema_migrations"),
    }
)
FORBIDDEN_NAMES = """
file dict joinget hascolumn catboost evalml naivebayes region ai mactooui
sleep logtrace generateserialid initializeaggregation addressto demangle transaction
get globalvariable hostname fullhostname fqdn uptime zookeeper serveruuid buildid revision
tcpport showcertificate authenticateduser authuser user currentuser currentroles currentprofiles
currenthandler currentrequest sessionuser defaultroles defaultprofiles enabled connectionid pg tid
"""
FORBIDDEN = tuple(FORBIDDEN_NAMES.split())
"""Beginnings of names of functions that reach outside of our tables; a test goes through all that the engine has."""

BY_TABLE = frozenset(
    f"{prefix}{in_}{suffix}"
    for prefix in ("", "global")
    for in_ in ("in", "notin", "nullin", "notnullin")
    for suffix in ("", "ignoreset")
)
"""Functions that take a table by its name; the operator IN, which is checked, does the same."""

REWRITES = 4
QUOTED = {TokenType.STRING, TokenType.IDENTIFIER, TokenType.HEREDOC_STRING, TokenType.RAW_STRING}


class SqlRefused(Exception):
    """The statement is not one that may be run; the message says why."""


def checked(sql: str, tables: Collection[str] = TABLES) -> str:
    """The statement to run, if it is one SELECT over our tables.

    Raises:
        SqlRefused: it cannot be parsed, does something else, or reads something else.
    """
    for _ in range(REWRITES):
        statement = _parsed(sql)
        _check(statement, tables)
        again = statement.sql(dialect="clickhouse", comments=False)
        if again == sql:
            return sql
        sql = again  # what runs is what was checked: writing anew may let out what stood in quotes
    raise SqlRefused("cannot be parsed")


def _check(statement: exp.Query, tables: Collection[str]) -> None:
    known = {*tables, *(cte.alias_or_name for cte in statement.find_all(exp.CTE))}
    for table in statement.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            raise SqlRefused("table functions are not run here")
        if table.db or table.catalog or table.name not in known:
            raise SqlRefused(f"there is no table {table.sql()} here; the tables are {', '.join(sorted(tables))}")
    for column in _columns_after_in(statement):
        if column.table or column.name not in known:
            raise SqlRefused("IN takes values, a SELECT or one of our tables here")
    for node in statement.walk():
        if isinstance(node, exp.Into | exp.Command):
            raise SqlRefused("only SELECT is run here")
        name = _function(node)
        if name.startswith((*FORBIDDEN, "_")) or name in BY_TABLE:
            raise SqlRefused(f"the function {name} is not run here")
    for query in statement.find_all(exp.Query):
        if query.args.get("settings") or query.args.get("format"):
            raise SqlRefused("SETTINGS and FORMAT are not run here")


def _parsed(sql: str) -> exp.Query:
    try:
        tokens = sqlglot.tokenize(sql, read="clickhouse")
        statements = [each for each in sqlglot.parse(sql, read="clickhouse") if each is not None]
    except SqlglotError as error:
        raise SqlRefused(f"cannot be parsed: {str(error).splitlines()[0]}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):  # how the parser trips over `map(1)`
        raise SqlRefused("cannot be parsed") from None
    if not all(token.text.isascii() for token in tokens if token.token_type not in QUOTED):
        raise SqlRefused("quote names and texts with \", ` or '")  # the engine takes typographic quotes for quotes
    if len(statements) != 1:
        raise SqlRefused("one statement at a time")
    if not isinstance(statements[0], exp.Query):
        raise SqlRefused("only SELECT is run here")
    return statements[0]


def _columns_after_in(statement: exp.Query) -> Iterator[exp.Column]:
    """Names on the right of IN: the engine reads them as tables."""
    for node in statement.find_all(exp.In):
        right = [node.args.get("field"), *node.expressions]
        yield from (each.unnest() for each in right if each is not None and isinstance(each.unnest(), exp.Column))


def _function(node: object) -> str:
    """The normalised name of the function that a node calls, or hands by its name to another one, or "".

    `arrayMap(file, paths)` and `* APPLY(file)` call `file` as `file(path)` does.
    """
    match node:
        case exp.Anonymous():
            name = node.name
        case exp.Func():
            name = node.sql_name()
        case exp.Column() if isinstance(node.parent, exp.Func) and not node.table:
            name = node.name
        case exp.Var() if isinstance(node.parent, exp.Apply):
            name = node.name
        case _:
            name = ""
    return name.lower() if name.startswith("_") else name.lower().replace("_", "")
