"""What judging, swaps and estimates of quality read: samples of answers, verdicts, ratings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sinks.recovery import Reader, Row

PARTS = 1_000_000
"""Of the traffic; a sample is those whose hash is among the first so many."""


class People:
    """Named reads over a store; they block."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def to_judge(
        self, evaluation_sha: str, judge_model: str, share: float, since: datetime, *, referenced: bool, limit: int
    ) -> list[Row]:
        """Sampled interactions without a final verdict, each application's in an order that is the same every time."""
        sql = """
            SELECT * FROM
            (
                SELECT application, interaction_id, prompt, response, reference
                FROM interactions
                WHERE occurred_at >= {since:DateTime64(3, 'UTC')}
                  AND cityHash64(application, interaction_id) % {parts:UInt32} < {sampled:UInt32}
                  AND (reference != '' OR NOT {referenced:Bool})
                  AND (application, interaction_id) NOT IN
                      (SELECT application, interaction_id FROM verdicts
                       WHERE evaluation_sha = {sha:String} AND judge_model = {model:String} AND state != 'planned')
                LIMIT 1 BY application, interaction_id
            )
            ORDER BY cityHash64(application, interaction_id)
            LIMIT {limit:UInt32} BY application"""
        parameters = {"since": since, "parts": PARTS, "sampled": round(share * PARTS), "referenced": referenced}
        return self._reader.query(sql, {**parameters, "sha": evaluation_sha, "model": judge_model, "limit": limit})

    def calls_since(self, since: datetime) -> Mapping[str, int]:
        """Calls of the judge that are spent or reserved, by application; the anchor set's under ""."""
        sql = """SELECT application, sum(calls) AS calls FROM verdicts FINAL
                 WHERE planned_at >= {since:DateTime64(3, 'UTC')} GROUP BY application"""
        return {row["application"]: int(row["calls"]) for row in self._reader.query(sql, {"since": since})}

    def verdicts(self, ids: Collection[str]) -> Mapping[str, Row]:
        """Verdicts by id, planned ones too."""
        sql = "SELECT * FROM verdicts FINAL WHERE verdict_id IN {ids:Array(String)}"
        return {row["verdict_id"]: row for row in self._reader.query(sql, {"ids": list(ids)})}

    def agreement(self, judge_model: str, before: datetime) -> float | None:
        """How often a judge agreed with the anchor set before a time; None if it never said anything."""
        sql = """SELECT countIf(score = expected) AS agreed, count() AS judged FROM verdicts FINAL
                 WHERE application = '' AND judge_model = {model:String} AND state = 'judged'
                   AND planned_at < {before:DateTime64(3, 'UTC')}"""
        row = self._reader.query(sql, {"model": judge_model, "before": before})[0]
        return row["agreed"] / row["judged"] if row["judged"] else None

    def to_swap(self, after: datetime, limit: int) -> list[Row]:
        """Interactions stored after a time that mention a group, none of whose texts was swapped yet."""
        sql = """
            SELECT application, interaction_id, stored_at, prompt, response
            FROM interactions
            WHERE stored_at > {after:DateTime64(3, 'UTC')}
              AND (labels['prompt.groups'] != '' OR labels['response.groups'] != '')
              AND (application, interaction_id) NOT IN (SELECT application, interaction_id FROM swaps)
            ORDER BY stored_at, cityHash64(application, interaction_id)
            LIMIT 1 BY application, interaction_id
            LIMIT {limit:UInt32}"""
        return self._reader.query(sql, {"after": after, "limit": limit})

    def swaps_since(self, since: datetime) -> int:
        """Texts that were scored again since then."""
        sql = "SELECT count() AS swaps FROM swaps FINAL WHERE scored_at >= {since:DateTime64(3, 'UTC')}"
        return int(self._reader.query(sql, {"since": since})[0]["swaps"])

    def labelled_applications(self, since: datetime) -> list[str]:
        """Applications of which a person or a judge has said something."""
        sql = """SELECT DISTINCT application FROM
                 (SELECT application FROM feedback WHERE rating IS NOT NULL AND given_at >= {since:DateTime64(3, 'UTC')}
                  UNION ALL
                  SELECT application FROM verdicts
                  WHERE state = 'judged' AND application != '' AND planned_at >= {since:DateTime64(3, 'UTC')})
                 ORDER BY application"""
        return [row["application"] for row in self._reader.query(sql, {"since": since})]

    def signals_of(self, application: str, since: datetime, limit: int) -> list[Row]:
        """Signals of an application's interactions: all of them, or a sample of this size by hash."""
        sql = """
            SELECT interaction_id, signals, model_name, model_version
            FROM interactions
            WHERE application = {application:String} AND occurred_at >= {since:DateTime64(3, 'UTC')}
            ORDER BY cityHash64(application, interaction_id)
            LIMIT 1 BY interaction_id
            LIMIT {limit:UInt32}"""
        return self._reader.query(sql, {"application": application, "since": since, "limit": limit})

    def ratings(self, application: str, since: datetime) -> list[Row]:
        """The latest rating that each person gave each interaction, with the interaction's signals."""
        sql = """
            SELECT f.interaction_id AS interaction_id, f.latest AS rating, i.signals AS signals,
                   i.model_name AS model_name, i.model_version AS model_version
            FROM (SELECT interaction_id, author, argMax(rating, given_at) AS latest FROM feedback FINAL
                  WHERE application = {application:String} AND rating IS NOT NULL
                  GROUP BY interaction_id, author) AS f
            INNER JOIN (SELECT interaction_id, signals, model_name, model_version FROM interactions
                        WHERE application = {application:String} AND occurred_at >= {since:DateTime64(3, 'UTC')}
                        LIMIT 1 BY interaction_id) AS i
            ON f.interaction_id = i.interaction_id"""
        return self._reader.query(sql, {"application": application, "since": since})

    def judged(self, application: str, since: datetime) -> list[Row]:
        """Verdicts on an application's interactions, with the interactions' signals."""
        sql = """
            SELECT v.interaction_id AS interaction_id, v.evaluation AS evaluation, v.evaluation_sha AS evaluation_sha,
                   v.judge_model AS judge_model, v.score AS score, v.agrees AS agrees, i.signals AS signals,
                   i.model_name AS model_name, i.model_version AS model_version
            FROM (SELECT * FROM verdicts FINAL WHERE application = {application:String} AND state = 'judged') AS v
            INNER JOIN (SELECT interaction_id, signals, model_name, model_version FROM interactions
                        WHERE application = {application:String} AND occurred_at >= {since:DateTime64(3, 'UTC')}
                        LIMIT 1 BY interaction_id) AS i
            ON v.interaction_id = i.interaction_id"""
        return self._reader.query(sql, {"application": application, "since": since})
