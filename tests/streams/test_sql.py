"""Free SQL reaches our tables and nothing else: no file, no other table, no other person's settings."""

from __future__ import annotations

import re

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from sinks.clickhouse import Store
from streams.sql import TABLES, SqlRefused, checked

ALLOWED = [
    "SELECT count() FROM interactions",
    "SELECT application, avg(signals['toxicity']) FROM interactions GROUP BY application HAVING count() > 3 ORDER BY 2",
    "WITH recent AS (SELECT * FROM pages) SELECT count() FROM recent",
    "WITH 0.5 AS half SELECT count() FROM evidence WHERE evidence > half",
    "SELECT * FROM interactions FINAL WHERE interaction_id IN (SELECT interaction_id FROM feedback)",
    "SELECT count() FROM interactions WHERE application IN ('shop', 'help') AND environment NOT IN 'test'",
    "SELECT count() FROM interactions WHERE tuple(application, environment) IN (('shop', 'production'))",
    "SELECT quantile(0.9)(evidence), max(occurred_at) FROM evidence LIMIT 1 BY application",
    "SELECT sum(evidence) OVER (PARTITION BY stream) FROM evidence",
    "SELECT arrayMap(x -> x * 2, [1, 2]), arraySum(prompt_vector) FROM interactions",
    "SELECT arrayJoin(flags) FROM interactions ARRAY JOIN streams",
    "SELECT 1 UNION ALL SELECT 2",
    "SELECT i.prompt FROM interactions AS i JOIN feedback AS f ON i.interaction_id = f.interaction_id",
    "SELECT prompt FROM interactions WHERE response LIKE '%don’t; DROP TABLE x -- /* %'",
    "SELECT toStartOfHour(occurred_at) AS hour, countIf(evidence >= 1) FROM evidence GROUP BY hour WITH TOTALS",
    "(SELECT 1)",
    "SELECT 1;",
    "SELECT 1 -- said",
]

REFUSED = {
    "two statements": "SELECT 1; SELECT 2",
    "no statement": " -- nothing",
    "empty": "",
    "not SQL": "SELEC 1 FRM",
    "a parser that trips": "SELECT map(1)",
    "deep nesting": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "insert": "INSERT INTO interactions SELECT * FROM interactions",
    "drop": "DROP TABLE interactions",
    "alter": "ALTER TABLE interactions DELETE WHERE 1",
    "set": "SET readonly = 0",
    "system": "SYSTEM SHUTDOWN",
    "explain": "EXPLAIN SELECT 1",
    "show": "SHOW TABLES",
    "describe": "DESCRIBE TABLE interactions",
    "values": "VALUES (1)",
    "system table": "SELECT * FROM system.users",
    "information schema": "SELECT * FROM information_schema.tables",
    "our table in another database": "SELECT * FROM other.interactions",
    "a table that is not ours": "SELECT * FROM secrets",
    "a table whose name is a path": "SELECT * FROM 'passwd.csv'",
    "quoted qualified name": 'SELECT * FROM "system.users"',
    "backquoted": "SELECT * FROM `system`.`users`",
    "union": "SELECT 1 UNION ALL SELECT name FROM system.tables",
    "except": "SELECT 1 EXCEPT SELECT name FROM system.tables",
    "join": "SELECT * FROM interactions JOIN system.users ON 1",
    "comma": "SELECT * FROM interactions, system.users",
    "subquery": "SELECT (SELECT name FROM system.users LIMIT 1)",
    "exists": "SELECT 1 FROM pages WHERE EXISTS (SELECT 1 FROM system.users)",
    "IN subquery": "SELECT 1 FROM pages WHERE page_id IN (SELECT name FROM system.users)",
    "IN table": "SELECT 1 FROM pages WHERE page_id IN system.users",
    "IN table in brackets": "SELECT 1 FROM pages WHERE page_id IN (system.users)",
    "NOT IN table": "SELECT 1 FROM pages WHERE page_id NOT IN system.users",
    "GLOBAL IN table": "SELECT 1 FROM pages WHERE page_id GLOBAL IN system.users",
    "IN other table": "SELECT 1 FROM pages WHERE page_id IN secrets",
    "in as a function": 'SELECT "in"(page_id, system.users) FROM pages',
    "notIn as a function": "SELECT notIn(page_id, system.users) FROM pages",
    "globalNullIn as a function": "SELECT globalNullIn(page_id, system.users) FROM pages",
    "CTE over a system table": "WITH pages AS (SELECT * FROM system.users) SELECT * FROM pages",
    "CTE named like a database": "WITH system AS (SELECT 1) SELECT * FROM system.users",
    "table function": "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "quoted table function": "SELECT * FROM `file`('/etc/passwd')",
    "url": "SELECT * FROM url('http://127.0.0.1/', 'CSV', 'x String')",
    "remote": "SELECT * FROM remote('127.0.0.1', system.users)",
    "merge": "SELECT * FROM merge('system', '.*')",
    "nested table function": "SELECT * FROM view(SELECT * FROM numbers(3))",
    "table function in a CTE": "WITH x AS (SELECT * FROM executable('x')) SELECT 1",
    "python": "SELECT * FROM Python(store)",
    "identifier parameter": "SELECT * FROM {name:Identifier}",
    "file": "SELECT file('/etc/passwd')",
    "quoted function": "SELECT \"file\"('/etc/passwd')",
    "other case": "SELECT FILE('/etc/passwd')",
    "combinator": "SELECT fileIf('/etc/passwd', 1)",
    "in a lambda": "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
    "by its name": "SELECT arrayMap(file, ['/etc/passwd'])",
    "by its quoted name": "SELECT arrayMap(`file`, ['/etc/passwd'])",
    "applied": "SELECT * APPLY(file) FROM pages",
    "applied, out of a heredoc": "SELECT * APPLY($a$length), file('/etc/passwd'), ($a$) FROM pages",
    "in a window": "SELECT sum(file('x')) OVER (ORDER BY 1) FROM pages",
    "in an order": "SELECT 1 ORDER BY file('x')",
    "dictionary": "SELECT dictGet('d', 'a', 1)",
    "joinGet": "SELECT joinGet('system.x', 'a', 1)",
    "setting": "SELECT getSetting('max_threads')",
    "metadata": "SELECT hasColumnInTable('system', 'users', 'name')",
    "a model's answer": "SELECT aiGenerate('x', prompt) FROM interactions",
    "host": "SELECT hostName(), tcpPort()",
    "user": "SELECT user()",
    "sleep": "SELECT sleepEachRow(3) FROM interactions",
    "server log": "SELECT logTrace('x')",
    "internal": "SELECT __getScalar('x')",
    "outfile": "SELECT * FROM interactions INTO OUTFILE '/tmp/x.csv'",
    "settings": "SELECT 1 SETTINGS max_memory_usage = 0",
    "settings in a subquery": "SELECT * FROM (SELECT * FROM pages SETTINGS max_threads = 99)",
    "settings in a union": "SELECT 1 UNION ALL SELECT 2 SETTINGS max_threads = 99",
    "settings in a CTE": "WITH x AS (SELECT 1 SETTINGS max_threads = 99) SELECT * FROM x",
    "format": "SELECT * FROM interactions FORMAT Native",
    "backslash in an identifier": 'SELECT 1 AS "a\\", 2 AS " FROM system.users -- "',
    "backslash in a string": "SELECT '\\' AS a, ' FROM system.users -- '",
    "quote in a heredoc": "SELECT $x$ ' $x$, name FROM system.users -- '",
    "comment that is none": "SELECT '/*', name FROM system.users -- */'",
    "typographic quotes": "SELECT ‘a ’, 1 FROM pages",
}


@pytest.mark.parametrize("sql", ALLOWED)
def test_a_select_over_our_tables_is_run(sql: str) -> None:
    again = checked(sql)
    assert checked(again) == again, "what is run would be allowed, too"


@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED.keys())
def test_everything_else_is_refused(sql: str) -> None:
    with pytest.raises(SqlRefused) as refused:
        checked(sql)
    assert str(refused.value) and "\n" not in str(refused.value)


def test_comments_do_not_reach_the_engine() -> None:
    assert checked("SELECT /* a */ 1 -- b\n + 1 # c") == "SELECT 1 + 1"


def test_the_tables_are_those_of_the_store(store: Store) -> None:
    rows = store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    assert {row["name"] for row in rows} == TABLES


def test_no_column_of_ours_is_taken_for_a_function(store: Store) -> None:
    rows = store.query("SELECT DISTINCT name FROM system.columns WHERE database = currentDatabase()")
    for row in rows:
        checked(f"SELECT any({row['name']}) FROM interactions")


def test_what_is_allowed_means_the_same_to_the_engine(store: Store) -> None:
    for sql in ("SELECT 'it''s' AS a", r"SELECT 'a\'b\\' AS a", "SELECT $x$ ' \\ $x$ AS a", "SELECT 'a\\nb' AS a"):
        assert store.query(checked(sql)) == store.query(sql)


# Reviewed: they compute from their arguments alone, or tell nothing but about the query itself.
HARMLESS = {
    *(
        "MACNumToString",
        "MACStringToNum",
        "MACStringToOUI",
        "assignCentroid",
        "bar",
        "blockNumber",
        "blockSerializedSize",
    ),
    *("blockSize", "byteSize", "caseWithExpression", "colorOKLABToSRGB", "colorOKLCHToSRGB", "colorSRGBToOKLAB"),
    *(
        "colorSRGBToOKLCH",
        "countDigits",
        "currentDatabase",
        "currentQueryID",
        "currentSchemas",
        "digits",
        "displayName",
    ),
    *("defaultValueOfArgumentType", "defaultValueOfTypeName", "dumpColumnStructure", "errorCodeToName"),
    *("finalizeAggregation", "flipCoordinates", "formatQuery", "formatQueryFromJSON", "formatQueryOrNull"),
    *("formatQuerySingleLine", "formatQuerySingleLineOrNull", "formatReadableDecimalSize", "formatReadableQuantity"),
    *("formatReadableSize", "formatReadableTimeDelta", "fuzzQuery", "generateRandomStructure", "hasThreadFuzzer"),
    *("hierarchicalKMeans", "highlightQuery", "icebergBucket", "icebergTruncate", "identity", "ignore", "indexHint"),
    *("initialQueryID", "initialQueryStartTime", "isConstant", "isDecimalOverflow", "isMergeTreePartCoveredBy"),
    *("lowCardinalityIndices", "lowCardinalityKeys", "materialize", "mergeTreePartInfo", "minSampleSizeContinuous"),
    *("minSampleSizeConversion", "neighbor", "nested", "normalizeQuery", "normalizeQueryKeepNames"),
    *("normalizedQueryHash", "normalizedQueryHashKeepNames", "obfuscateQuery", "obfuscateQueryWithSeed"),
    *("parseISO8601Duration", "parseQueryToJSON", "parseReadableSize", "parseReadableSizeOrNull"),
    *(
        "parseReadableSizeOrZero",
        "parseTimeDelta",
        "partitionId",
        "queryID",
        "rowNumberInAllBlocks",
        "rowNumberInBlock",
    ),
    *("runningAccumulate", "runningConcurrency", "runningDifference", "runningDifferenceStartingWithFirstValue"),
    *("shardCount", "shardNum", "stochasticLinearRegression", "stochasticLogisticRegression"),
    *("structureToCapnProtoSchema", "structureToProtobufSchema", "throwIf", "toColumnTypeName", "toTypeName"),
    *("tokenizeQuery", "transform", "validateNestedArraySizes", "variantElement", "variantType", "version"),
    "visibleWidth",
}
SUSPICIOUS = (
    "Other",
    "Internal",
    "Introspection",
    "Machine Learning",
    "AI",
    "Dictionary",
    "Embedded Dictionary",
    "UDF",
)


def accepts(name: str) -> bool:
    """Whether a function gets through in any of the ways it can be called."""
    ways = ("{0}(error)", "{0}()", '"{0}"(error, 1)', "arrayMap({0}, [1])", "arrayMap(`{0}`, [1])", "* APPLY({0})")
    for way in ways:
        try:
            checked(f"SELECT {way.format(name)} FROM interactions")
        except SqlRefused:
            continue
        return True
    return False


def test_every_function_of_the_engine_that_could_reach_outside_is_refused_or_was_reviewed(store: Store) -> None:
    rows = store.query("SELECT name, categories AS category, alias_to FROM system.functions")
    category = {row["name"]: row["category"] for row in rows}
    suspicious = {
        row["name"]: row["alias_to"] or row["name"]
        for row in rows
        if category.get(row["alias_to"] or row["name"], "") in SUSPICIOUS
    }
    assert len(suspicious) > 150
    assert {name for name, meant in suspicious.items() if accepts(name) and meant not in HARMLESS} == set()


words = st.sampled_from(
    [
        *(
            "SELECT",
            "*",
            "1",
            "FROM",
            "interactions",
            "pages",
            "system.users",
            "file('x')",
            "file",
            "(",
            ")",
            ",",
            "UNION ALL",
        ),
        *(
            "WITH x AS",
            "x",
            "IN",
            "JOIN",
            "ON 1",
            "WHERE",
            "arrayMap(",
            "APPLY(",
            "'",
            '"',
            "`",
            "\\",
            "--",
            "/*",
            "*/",
        ),
        *(
            "$a$",
            "‘",
            "’",
            "SETTINGS max_threads=1",
            "FORMAT CSV",
            "INTO OUTFILE 'x'",
            ";",
            "\n",
            "AS",
            "[",
            "]",
            "->",
            "{",
        ),
    ]
)


@settings(max_examples=500, deadline=None)
@given(parts=st.lists(words, max_size=14))
def test_whatever_is_accepted_names_our_tables_only(parts: list[str]) -> None:
    try:
        allowed = checked("SELECT " + " ".join(parts))
    except SqlRefused:
        return
    (statement,) = sqlglot.parse(allowed, read="clickhouse")
    assert isinstance(statement, exp.Query)
    own = {cte.alias_or_name for cte in statement.find_all(exp.CTE)}
    assert {table.sql() for table in statement.find_all(exp.Table)} <= {"interactions", "pages", *own, *TABLES} | {
        f"{name} AS {alias}" for name in TABLES | own for alias in re.findall(r"\bAS (\S+)", allowed)
    }
    outside = re.sub(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"", "''", allowed)
    assert not re.search(r"\bfile\s*\(|IN \(?system|OUTFILE|SETTINGS \w+ =|--|/\*", outside)
