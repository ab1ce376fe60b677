"""Free SQL for analysts on an engine that has no restricted users: one SELECT over our own tables, nothing else.

ClickHouse's `readonly` is no sandbox (`INTO OUTFILE` writes, `file()` reads), so the statement is parsed first.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

TABLES = frozenset(
    {
        *("interactions", "feedback", "dead_letters", "ledger", "detector_states", "references", "evidence"),
        *("pages", "incidents", "incident_events", "notifications", "retraining_runs", "schema_migrations"),
    }
)
FORBIDDEN = (
    *("file", "url", "s3", "hdfs", "remote", "mysql", "postgresql", "mongodb", "sqlite", "jdbc", "odbc", "executable"),
    *("input", "dict", "joinget", "catboost", "sleep", "getsetting", "getserver", "hostname", "fqdn", "uptime"),
    *("currentuser", "currentroles", "python", "evalmlmethod", "initializeaggregation", "addresstoline", "demangle"),
)
"""Beginnings of the names of functions that reach outside of our tables."""


class SqlRefused(Exception):
    """The statement is not one that may be run; the message says why."""


def checked(sql: str, tables: Collection[str] = TABLES) -> str:
    """The statement, if it is one SELECT over our tables.

    Raises:
        SqlRefused: it cannot be parsed, does something else, or reads something else.
    """
    try:
        statements = [each for each in sqlglot.parse(sql, read="clickhouse") if each is not None]
    except SqlglotError as error:
        raise SqlRefused(f"cannot be parsed: {str(error).splitlines()[0]}") from None
    if len(statements) != 1:
        raise SqlRefused("one statement at a time")
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        raise SqlRefused("only SELECT is run here")
    own = {cte.alias_or_name for cte in statement.find_all(exp.CTE)}
    for table in statement.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            raise SqlRefused("table functions are not run here")
        if table.db or table.catalog or table.name not in {*tables, *own}:
            raise SqlRefused(f"there is no table {table.sql()} here; the tables are {', '.join(sorted(tables))}")
    for node in statement.walk():
        if isinstance(node, exp.Into | exp.Command):
            raise SqlRefused("only SELECT is run here")
        if isinstance(node, exp.Func) and _name(node).startswith(FORBIDDEN):
            raise SqlRefused(f"the function {_name(node)} is not run here")
    for query in statement.find_all(exp.Query):
        if query.args.get("settings") or query.args.get("format"):
            raise SqlRefused("SETTINGS and FORMAT are not run here")
    return statement.sql(dialect="clickhouse")


def _name(function: exp.Func) -> str:
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    return str(name).lower().replace("_", "")
