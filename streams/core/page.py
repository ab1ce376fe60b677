"""A page with its whole explanation, out of the group that raised it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from detectors.drift import Alarm, FloatArray
from streams.core.attribution import attribute
from streams.core.columns import Columns
from streams.core.explain import LEAST_WINDOW, clusters_of, effect_of, exemplars_of, shifts_of
from streams.core.group import Group
from streams.core.units import GIVEN, VECTOR_STREAMS, Unit, is_judged
from tocsin.messages import Exemplar, Moved, Page, SegmentEvidence


def make_page(group: Group, stream: str, alarm: Alarm, unit: Unit, segments: Sequence[SegmentEvidence]) -> Page:
    """The page of a stream.

    Args:
        group: as it stands after the unit.
        stream: that pages.
        alarm: of its detector.
        unit: that completed the evidence.
        segments: evidence of the same stream in every group of the application.
    """
    reference, window = group.reference, _window(group, stream)
    assert reference is not None
    since = list(group.recent)[-max(LEAST_WINDOW, alarm.age) :]
    effect, share = effect_of(reference, stream, alarm, window)
    evidence = group.evidence()
    others = sorted(evidence.items(), key=lambda each: (-each[1], each[0]))
    identity = f"tocsin:page:{reference.reference_id}:{stream}:{unit.interaction_id}"
    return Page(
        page_id=str(uuid5(NAMESPACE_URL, identity)),
        application=group.application,
        stream=stream,
        segment=group.segment,
        lane=alarm.lane,
        reference_id=reference.reference_id,
        position=alarm.position,
        interaction_id=unit.interaction_id,
        occurred_at=datetime.fromtimestamp(unit.occurred_at, UTC),
        began_at=datetime.fromtimestamp(_began(window, alarm.age, unit), UTC),
        units_since_beginning=alarm.age,
        evidence=alarm.evidence,
        threshold=alarm.threshold,
        share=share,
        effect=effect,
        exemplars=exemplars_of(reference, stream, group.states[stream], alarm, window),
        ordinary=[Exemplar(interaction_id=member, score=0.0) for member in reference.ordinary[stream]],
        moved=[Moved(stream=name, evidence=value) for name, value in others if name != stream],
        versions=shifts_of(reference.composition, window[-alarm.age :]),
        clusters=clusters_of(reference, stream, since),
        segments=list(segments),
        attribution=attribute(reference, reference.answers, evidence, since, reference.places(_times(since))),
        configuration=group.rules.configuration,
    )


def _window(group: Group, stream: str) -> list[Unit]:
    """Recent units that the stream counts; of a response given its prompt, with what the prompt does not explain."""
    assert group.reference is not None
    units = list(group.recent)
    if stream not in VECTOR_STREAMS:
        return units
    units = [unit for unit in units if is_judged(stream, unit, group.reference.encoder)]
    if stream != GIVEN:
        return units
    residuals = group.reference.values(GIVEN, Columns(units), np.arange(len(units)))
    return [replace(unit, vectors={**unit.vectors, GIVEN: row}) for unit, row in zip(units, residuals, strict=True)]


def _times(units: Sequence[Unit]) -> FloatArray:
    return np.array([unit.occurred_at for unit in units])


def _began(window: Sequence[Unit], age: int, unit: Unit) -> float:
    """Time of the unit that came `age` units ago; beyond the window, at the pace that units come within it."""
    first = window[-min(age, len(window))].occurred_at
    pace = (unit.occurred_at - window[0].occurred_at) / len(window)
    return min(first, unit.occurred_at) - max(0, age - len(window)) * max(pace, 0.0)
