"""What the detectors get of the settings."""

from __future__ import annotations

from typing import Any

import pytest

from streams.pipeline import rules_of
from streams.settings import ConfigurationError, Settings, Watch


def test_the_detectors_get_what_is_configured() -> None:
    watch = Watch(
        segments=["template"], segment_share=0.2, least_effect=0.1, least_effects={"prompt": 0.5, "refusal": 0}
    )
    rules = rules_of(Settings(watch=watch))
    assert (rules.segments, rules.segment_share, rules.most_segments) == (("template",), 0.2, 32)
    effects = {name: rules.least_effect_of(name) for name in ("prompt", "response", "refusal")}
    assert effects == {"prompt": 0.5, "response": 0.1, "refusal": 0.0}
    assert rules.watched["prompt.toxicity"] == "up" and rules.tails["prompt.repeat"] == "up"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"least_effects": {"promt": 1.0}}, "watch.least_effects: there is no stream 'promt'"),
        ({"segments": ["template", "language"]}, "watch.segments: 'language' is none of model, prompt.groups"),
    ],
)
def test_a_name_that_means_nothing_is_said_at_the_start(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        rules_of(Settings(watch=Watch(**changed)))
