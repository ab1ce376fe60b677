"""Every statement that reads results, for the pages and the command line: named, parametrised, SELECT only.

Tables that keep versions are read with FINAL, so that a row that was written twice counts once. `interactions` is read
with FINAL only over a range of time; a look-up by id takes one row of each id instead, which uses the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

Row = dict[str, Any]

STATEMENTS: Mapping[str, str] = {
    # -- the overview -------------------------------------------------------------------------------------------------
    "traffic": """
        SELECT application,
               toUnixTimestamp(toStartOfInterval(occurred_at, toIntervalSecond({step:UInt32}))) AS at,
               count() AS interactions, countIf(error != '') AS errors
        FROM interactions FINAL
        WHERE occurred_at >= {since:DateTime64(3, 'UTC')}
        GROUP BY application, at
        ORDER BY application, at""",
    "versions": """
        SELECT application, model_name, model_version, count() AS interactions,
               min(occurred_at) AS first_at, max(occurred_at) AS last_at
        FROM interactions FINAL
        WHERE occurred_at >= {since:DateTime64(3, 'UTC')} AND model_name || model_version != ''
        GROUP BY application, model_name, model_version
        ORDER BY application, last_at DESC""",
    "evidence_now": """
        SELECT application, stream, last.3 AS evidence, last.2 AS units, last.4 AS latched, last.1 AS last_at
        FROM
        (
            SELECT application, stream, max((occurred_at, units, evidence, latched)) AS last
            FROM evidence
            WHERE segment = '' AND occurred_at >= {since:DateTime64(3, 'UTC')}
            GROUP BY application, stream
        )
        ORDER BY application, evidence DESC, stream""",
    "references": """
        SELECT reference_id, application, status, created_at, first_at, last_at, units, model_version, run_id
        FROM references FINAL
        WHERE segment = ''
        ORDER BY application, created_at DESC""",
    "incidents_open": """
        SELECT incident_id, application, state, opened_at, began_at, updated_at, title, streams, page_ids
        FROM incidents FINAL
        WHERE state != 'resolved'
        ORDER BY opened_at DESC""",
    "runs_latest": """
        SELECT run_id, incident_id, application, target, state, reason, created_at, finished_at, model_version
        FROM retraining_runs FINAL
        ORDER BY application, created_at DESC
        LIMIT 1 BY application""",
    "pages_sent": """
        SELECT count() AS pages FROM pages FINAL
        WHERE occurred_at >= {since:DateTime64(3, 'UTC')} AND lane != 'rule'""",
    # Offsets that were passed over (missing), and ranges whose counts do not add up (unaccounted), must both be zero.
    "ledger": """
        SELECT topic, source_partition AS partition, min(l.first_offset) AS first_offset,
               max(l.next_offset) AS next_offset, sum(l.stored) AS stored, sum(l.dead_lettered) AS dead_lettered,
               sum(l.duplicate) AS duplicate, sum(l.hole) AS missing, sum(l.rest) AS unaccounted
        FROM
        (
            SELECT topic, source_partition, first_offset, next_offset, stored, dead_lettered, duplicate,
                   abs(toInt64(next_offset - first_offset) - toInt64(stored + dead_lettered + duplicate)) AS rest,
                   max(next_offset) OVER before AS reached,
                   if(count() OVER before = 0, 0, greatest(0, toInt64(first_offset) - toInt64(reached))) AS hole
            FROM
            (
                SELECT * FROM ledger FINAL
                ORDER BY topic, source_partition, first_offset, next_offset DESC
                LIMIT 1 BY topic, source_partition, first_offset
            )
            WINDOW before AS (PARTITION BY topic, source_partition ORDER BY first_offset
                              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ) AS l
        GROUP BY topic, partition
        ORDER BY topic, partition""",
    "dead_letters": """
        SELECT topic, reason, count() AS messages, max(received_at) AS last_at
        FROM dead_letters FINAL
        WHERE received_at >= {since:DateTime64(3, 'UTC')}
        GROUP BY topic, reason
        ORDER BY messages DESC""",
    # -- dead letters, by topic/partition/offset ----------------------------------------------------------------------
    "dead_letters_latest": """
        SELECT concat(d.topic, '/', toString(d.source_partition), '/', toString(d.source_offset)) AS letter_id,
               d.received_at AS received_at, d.reason AS reason, d.detail AS detail, d.bytes AS bytes,
               r.replays AS replays, r.last_at AS replayed_at
        FROM
        (
            SELECT topic, source_partition, source_offset, received_at, reason, detail,
                   length(if(startsWith(raw, 'base64:'), tryBase64Decode(substring(raw, 8)), raw)) AS bytes
            FROM dead_letters FINAL
            WHERE ({topic:String} = '' OR topic = {topic:String})
              AND ({reason:String} = '' OR reason = {reason:String})
              AND received_at >= {since:DateTime64(3, 'UTC')}
            ORDER BY received_at DESC, topic, source_partition, source_offset DESC
            LIMIT {limit:UInt32}
        ) AS d
        LEFT JOIN
        (
            SELECT topic, source_partition, source_offset, count() AS replays, max(replayed_at) AS last_at
            FROM dead_letter_replays FINAL
            GROUP BY topic, source_partition, source_offset
        ) AS r
        ON d.topic = r.topic AND d.source_partition = r.source_partition AND d.source_offset = r.source_offset
        ORDER BY received_at DESC, letter_id""",
    "dead_letters_page": """
        SELECT concat(d.topic, '/', toString(d.source_partition), '/', toString(d.source_offset)) AS letter_id,
               d.topic AS topic, d.source_partition AS partition, d.source_offset AS offset,
               d.received_at AS received_at, d.reason AS reason, d.detail AS detail, d.raw AS raw,
               d.retention_days AS retention_days, r.replays AS replays
        FROM
        (
            SELECT topic, source_partition, source_offset, received_at, reason, detail, raw, retention_days
            FROM dead_letters FINAL
            WHERE ({topic:String} = '' OR topic = {topic:String})
              AND ({reason:String} = '' OR reason = {reason:String})
              AND received_at >= {since:DateTime64(3, 'UTC')}
              AND (topic, source_partition, source_offset)
                  > ({after_topic:String}, {after_partition:Int64}, {after_offset:Int64})
              AND (empty({ids:Array(String)}) OR has({ids:Array(String)},
                   concat(topic, '/', toString(source_partition), '/', toString(source_offset))))
            ORDER BY topic, source_partition, source_offset
            LIMIT {limit:UInt32}
        ) AS d
        LEFT JOIN
        (
            SELECT topic, source_partition, source_offset, count() AS replays
            FROM dead_letter_replays FINAL
            GROUP BY topic, source_partition, source_offset
        ) AS r
        ON d.topic = r.topic AND d.source_partition = r.source_partition AND d.source_offset = r.source_offset
        ORDER BY topic, partition, offset""",
    # -- one application ----------------------------------------------------------------------------------------------
    "evidence_series": """
        SELECT stream,
               toUnixTimestamp(toStartOfInterval(occurred_at, toIntervalSecond({step:UInt32}))) AS at,
               max(evidence) AS highest
        FROM evidence
        WHERE application = {application:String} AND segment = {segment:String}
          AND occurred_at >= {since:DateTime64(3, 'UTC')} AND occurred_at <= {until:DateTime64(3, 'UTC')}
          AND (empty({streams:Array(String)}) OR has({streams:Array(String)}, stream))
        GROUP BY stream, at
        ORDER BY stream, at""",
    "deployments": """
        SELECT model_name, model_version, min(occurred_at) AS first_at
        FROM interactions
        WHERE application = {application:String} AND occurred_at >= {since:DateTime64(3, 'UTC')}
          AND occurred_at <= {until:DateTime64(3, 'UTC')} AND model_version != ''
        GROUP BY model_name, model_version
        ORDER BY first_at""",
    "incidents_of": """
        SELECT incident_id, application, state, opened_at, began_at, updated_at, title, streams, page_ids
        FROM incidents FINAL
        WHERE application = {application:String}
        ORDER BY opened_at DESC
        LIMIT 100""",
    # -- people -------------------------------------------------------------------------------------------------------
    "fairness": """
        SELECT field, value, signal, measure, units, rest_units, pairs, mean, rest_mean, gap, low, high, paged,
               began_at, compared_at
        FROM fairness FINAL
        WHERE application = {application:String}
          AND began_at = (SELECT max(began_at) FROM fairness WHERE application = {application:String})
        ORDER BY greatest(low, -high) DESC, field, value, signal""",
    "swaps": """
        SELECT family, before, after, signal, count() AS texts, avg(change) AS mean_gap, max(abs(change)) AS largest
        FROM (SELECT * FROM swaps FINAL WHERE application = {application:String}) AS s
        ARRAY JOIN mapKeys(gaps) AS signal, mapValues(gaps) AS change
        GROUP BY family, before, after, signal
        ORDER BY abs(mean_gap) DESC, family, before, after, signal
        LIMIT 100""",
    "quality": """
        SELECT subject, mean, low, high, labels, unlabelled, weight, plain_low, plain_high, since, estimated_at
        FROM estimates FINAL
        WHERE application = {application:String}
        ORDER BY estimated_at DESC
        LIMIT 1 BY subject""",
    "verdicts": """
        SELECT toString(toDate(planned_at)) AS day, evaluation, judge_model, countIf(state = 'judged') AS judged,
               avgIf(score, state = 'judged') AS mean, avgIf(agrees, state = 'judged') AS agreeing,
               countIf(state = 'unusable') AS unusable, sum(v.calls) AS calls
        FROM verdicts AS v FINAL
        WHERE application = {application:String} AND application != ''
        GROUP BY day, evaluation, judge_model
        ORDER BY day DESC, evaluation, judge_model
        LIMIT 30""",
    "agreement": """
        SELECT toString(toDate(planned_at)) AS day, judge_model, evaluation_sha,
               countIf(state = 'judged' AND score = expected) / count() AS agreed, count() AS anchors
        FROM verdicts FINAL
        WHERE application = '' AND state != 'planned' AND judge_model IN
              (SELECT DISTINCT judge_model FROM verdicts WHERE application = {application:String})
        GROUP BY day, judge_model, evaluation_sha
        ORDER BY day DESC, judge_model
        LIMIT 30""",
    "to_rate": """
        SELECT interaction_id, occurred_at, substringUTF8(prompt, 1, 4000) AS prompt,
               substringUTF8(response, 1, 4000) AS response
        FROM interactions
        WHERE application = {application:String} AND occurred_at >= now() - INTERVAL 30 DAY
          AND interaction_id NOT IN (SELECT interaction_id FROM feedback
                                     WHERE application = {application:String} AND rating IS NOT NULL)
        ORDER BY cityHash64(application, interaction_id, 'rate')
        LIMIT 1 BY interaction_id
        LIMIT 20""",
    # -- one incident -------------------------------------------------------------------------------------------------
    "incident": """
        SELECT incident_id, application, state, opened_at, began_at, updated_at, title, page_ids, streams, report
        FROM incidents FINAL
        WHERE incident_id = {incident_id:String}""",
    "pages": """
        SELECT page_id, stream, lane, occurred_at, began_at, evidence, explanation
        FROM pages FINAL
        WHERE application = {application:String} AND has({page_ids:Array(String)}, page_id)
        ORDER BY occurred_at, page_id""",
    "texts": """
        SELECT interaction_id, occurred_at, substringUTF8(prompt, 1, 4000) AS prompt,
               substringUTF8(response, 1, 4000) AS response, model_name, model_version
        FROM interactions
        WHERE application = {application:String} AND interaction_id IN {interaction_ids:Array(String)}
        ORDER BY occurred_at DESC
        LIMIT 1 BY interaction_id""",
    "incident_events": """
        SELECT happened_at, kind, actor, detail
        FROM incident_events FINAL
        WHERE incident_id = {incident_id:String}
        ORDER BY happened_at, event_id""",
    "notifications": """
        SELECT notification_id, page_ids, target, state, attempts, last_error, created_at, updated_at, title
        FROM notifications FINAL
        WHERE incident_id = {incident_id:String}
        ORDER BY created_at, notification_id""",
    "runs": """
        SELECT run_id, target, state, reason, created_at, started_at, finished_at, model_version, metrics, detail
        FROM retraining_runs FINAL
        WHERE incident_id = {incident_id:String}
        ORDER BY created_at""",
}


class Reader(Protocol):
    """What runs a statement, with limits on time, memory and rows of its own; may block; used by many threads."""

    def query(self, sql: str, parameters: Mapping[str, Any] = ...) -> list[Row]:
        """Rows as dictionaries; parameters are ClickHouse's, `{name:Type}` in the statement."""
        ...


class Queries:
    """Runs the statements above by name."""

    statements = STATEMENTS

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def read(self, name: str, **parameters: object) -> list[Row]:
        """The rows of one statement, times in UTC with their zone. Blocks.

        Raises:
            KeyError: no statement has this name.
        """
        rows = self._reader.query(STATEMENTS[name], parameters)
        return [{column: _in_utc(value) for column, value in row.items()} for row in rows]


def _in_utc(value: object) -> object:
    """The store's client returns times of UTC columns without their zone."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
