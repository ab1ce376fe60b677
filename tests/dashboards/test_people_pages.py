"""The pages about people: groups beside the others, and how good the answers are."""

from __future__ import annotations

from datetime import timedelta

from tests.dashboards.conftest import ATTACK, NOW, Installation


def compare(
    installation: Installation, value: str, low: float, high: float, paged: int = 0, **overrides: object
) -> None:
    row = {"application": "bot", "began_at": NOW - timedelta(days=3), "compared_at": NOW, "field": "attribute tenant"}
    figures = {"units": 900, "rest_units": 2000, "pairs": 800, "mean": 0.06, "rest_mean": 0.02, "gap": (low + high) / 2}
    shown = {"value": value, "signal": "refusal", "measure": "rate", "low": low, "high": high, "paged": paged}
    installation.store.insert("fairness", [row | figures | shown | overrides])


def test_differences_come_first_with_their_intervals(installation: Installation) -> None:
    compare(installation, "calm", -0.02, 0.03)
    compare(installation, ATTACK, 0.01, 0.07, paged=1)
    page = installation.client.get("/fairness/bot").text
    assert "1 difference between a group and the others" in page
    assert page.index("&lt;script&gt;") < page.index("calm") and ATTACK not in page
    assert "+0.010 to +0.070" in page and "6.0\u202f%" in page and "paged" in page


def test_without_a_difference_the_page_says_so_and_without_anything_why(installation: Installation) -> None:
    installation.traffic("bot")
    assert "Nothing to compare yet" in installation.client.get("/fairness/bot").text
    compare(installation, "calm", -0.02, 0.03)
    assert "No difference between a group and the others is certain" in installation.client.get("/fairness/bot").text


def test_a_comparison_of_times_has_its_unit(installation: Installation) -> None:
    compare(installation, "calm", 20, 40, signal="latency_ms", measure="mean", mean=850, rest_mean=820)
    page = installation.client.get("/fairness/bot").text
    assert "850 ms" in page and "820 ms" in page and "+30.000 ms" in page and "+20.000 to +40.000 ms" in page


def test_swaps_are_shown_by_pair_and_signal(installation: Installation) -> None:
    row = {"application": "bot", "side": "prompt", "family": "religion", "before": "muslim", "after": "christian"}
    installation.store.insert(
        "swaps",
        [
            row | {"interaction_id": f"i{n}", "scored_at": NOW, "gaps": {"prompt.toxicity": gap}}
            for n, gap in enumerate((-0.3, -0.1))
        ],
    )
    page = installation.client.get("/fairness/bot").text
    assert "muslim" in page and "-0.200" in page and "0.3" in page


def test_quality_shows_estimates_verdicts_and_whether_the_judge_changed(installation: Installation) -> None:
    estimate = {"application": "bot", "subject": "people", "estimated_at": NOW, "since": NOW, "mean": 0.7, "low": 0.65}
    ends = {"high": 0.75, "labels": 100, "unlabelled": 900, "weight": 0.8, "plain_low": 0.6, "plain_high": 0.8}
    installation.store.insert("estimates", [estimate | ends])
    verdict = {"evaluation": "helpfulness-v1", "judge_model": "judge-7", "state": "judged", "planned_at": NOW}
    installation.store.insert(
        "verdicts",
        [
            verdict
            | {
                "verdict_id": name,
                "application": application,
                "score": score,
                "expected": expected,
                "calls": 2,
                "version": 1,
            }
            for name, application, score, expected in (
                ("a", "bot", 1.0, None),
                ("b", "", 1.0, 1.0),
                ("c", "", 0.0, 1.0),
            )
        ],
    )
    page = installation.client.get("/quality/bot").text
    assert "0.65 to 0.75" in page and "100 of 1\u202f000" in page
    assert "helpfulness-v1" in page and "judge-7" in page
    assert "Has the judge changed?" in page and "50\u202f%" in page


def test_without_a_judge_the_page_says_that_nothing_leaves_the_house(installation: Installation) -> None:
    installation.traffic("bot")
    page = installation.client.get("/quality/bot").text
    assert "No judge is configured" in page and "Not known yet" in page


def test_the_page_of_an_application_leads_to_both(installation: Installation) -> None:
    installation.traffic("a/b c")
    page = installation.client.get("/applications/a%2Fb%20c").text
    for link in ("/fairness/a%2Fb%20c", "/quality/a%2Fb%20c"):
        assert f'href="{link}"' in page
        assert installation.client.get(link).status_code == 200
