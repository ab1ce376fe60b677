"""Runs one of the packages of others for one seed; started by `packages` in their own environment.

A *measure* is a function of the reference that gives, for a stream, one number a unit; an alarm is a number above the
threshold. Detectors that only say yes or no run once for each of many settings; their number is the strictest setting
that says yes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.drift.changes import CHANGE_AT, CHANGES, NOTHING, NULL, Mixture
from benchmarks.drift.thresholds import records_of
from detectors.drift import Float32Array, FloatArray
from detectors.encoder.bfloat16 import from_bfloat16

Path = Iterator[float]
Measure = Callable[[Float32Array], Path]
WARM = 512
"""Units before the change that the packages get; windows are full then."""

NEVER = 1e-300
NOTHING_YET = float("-inf")


def alibi(reference: Float32Array, kind: str) -> Measure:
    """Online MMD or LSDD. Configured for a short run length, as an oracle sets the threshold."""
    import torch
    from alibi_detect.cd import LSDDDriftOnline, MMDDriftOnline  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    detector = {"MMD": MMDDriftOnline, "LSDD": LSDDDriftOnline}[kind](
        reference, ert=100, window_size=100, backend="pytorch", n_bootstraps=400, verbose=False
    )

    def path(stream: Float32Array) -> Path:
        detector.reset_state()
        for vector in stream:
            yield float(detector.predict(vector)["data"]["test_stat"])

    return path


def _distances(reference: Float32Array) -> tuple[FloatArray, Callable[[Float32Array], FloatArray]]:
    """Distance from the reference's mean, in its standard deviations: of the reference, and of a stream."""
    centre = reference.mean(axis=0)
    known = np.linalg.norm(reference - centre, axis=1).astype(np.float64)
    mean, deviation = known.mean(), known.std()
    return (known - mean) / deviation, lambda stream: (np.linalg.norm(stream - centre, axis=1) - mean) / deviation


def _strictest(made: Sequence[Callable[[], Any]], reference: Float32Array) -> Measure:
    """Of detectors that say yes or no, from lenient to strict; each has seen the reference first."""
    known, distance = _distances(reference)

    def path(stream: Float32Array) -> Path:
        detectors = [make() for make in made]
        for value in known:
            for detector in detectors:
                detector.update(float(value))
        for value in distance(stream):
            said = NOTHING_YET
            for strictness, detector in enumerate(detectors):
                detector.update(float(value))
                if detector.drift_detected:
                    said = float(strictness)
            yield said

    return path


def adwin(reference: Float32Array) -> Measure:
    """Adaptive windows, by their confidence."""
    from river.drift import ADWIN  # type: ignore[import-not-found]

    return _strictest([partial(ADWIN, delta=delta) for delta in np.geomspace(0.5, 1e-9, 20)], reference)


def page_hinkley(reference: Float32Array) -> Measure:
    """Page-Hinkley, by its threshold."""
    from river.drift import PageHinkley

    heights = np.geomspace(4, 400, 30)
    return _strictest([partial(PageHinkley, threshold=height) for height in heights], reference)


def kswin(reference: Float32Array) -> Measure:
    """The p-value of windows of 30 against a sample of the last 100."""
    from river.drift import KSWIN

    known, distance = _distances(reference)

    def path(stream: Float32Array) -> Path:
        detector = KSWIN(alpha=NEVER, seed=0)
        for value in (*known[-100:], *distance(stream)):
            detector.update(float(value))
            yield -float(np.log(max(getattr(detector, "p_value", 1.0), NEVER)))

    return lambda stream: (number for i, number in enumerate(path(stream)) if i >= 100)


def frouros(reference: Float32Array, kind: str) -> Measure:
    """The p-value of the incremental Kolmogorov-Smirnov test, or the distance of the streaming MMD."""
    from frouros.detectors.data_drift.streaming import MMD, IncrementalKSTest  # type: ignore[import-not-found]

    known, distance = _distances(reference)

    def path(stream: Float32Array) -> Path:
        detector = MMD(window_size=100) if kind == "MMD" else IncrementalKSTest(window_size=100)
        detector.fit(X=reference if kind == "MMD" else known)
        for value in stream if kind == "MMD" else distance(stream):
            result, _ = detector.update(value=value)
            if result is None:
                yield NOTHING_YET
            else:
                yield float(result.distance) if kind == "MMD" else -float(np.log(max(result.p_value, NEVER)))

    return path


def evidently(reference: Float32Array, kind: str) -> Measure:
    """Tumbling windows of 500: the number that it compares with its constant."""
    import pandas as pd
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import distance, model

    method = distance(bootstrap=False) if kind == "distance" else model(bootstrap=False)
    names = [str(i) for i in range(reference.shape[1])]
    known = pd.DataFrame(reference, columns=names)

    def path(stream: Float32Array) -> Path:
        for start in range(0, len(stream), 500):
            window = stream[start : start + 500]
            yield from [NOTHING_YET] * (len(window) - 1)
            full = len(window) == 500  # it adds a column to what it is given
            yield float(method(pd.DataFrame(window, columns=names), known.copy())[0]) if full else NOTHING_YET

    return path


MEASURES: dict[str, Callable[[Float32Array], Measure]] = {
    "alibi-detect, online MMD, window 100": lambda reference: alibi(reference, "MMD"),
    "alibi-detect, online LSDD, window 100": lambda reference: alibi(reference, "LSDD"),
    "river, ADWIN on the distance from the mean": adwin,
    "river, Page-Hinkley on the distance from the mean": page_hinkley,
    "river, KSWIN on the distance from the mean": kswin,
    "frouros, KS of a window of 100 on the distance": lambda reference: frouros(reference, "KS"),
    "frouros, MMD, window 100": lambda reference: frouros(reference, "MMD"),
    "Evidently, distance of windows of 500": lambda reference: evidently(reference, "distance"),
    "Evidently, classifier on windows of 500": lambda reference: evidently(reference, "model"),
}


def run(parameters: Mapping[str, Any], seed: int, sets: Mapping[str, Float32Array]) -> dict[str, Any]:
    """Delays with a threshold, the time alone if that is asked for, else records of paths without a change."""
    random, ordinary = np.random.default_rng((seed, 7)), sets[NULL]
    began = time.process_time()
    measure = MEASURES[parameters["method"]](ordinary[random.integers(len(ordinary), size=parameters["units"])])
    configured = time.process_time() - began
    if "threshold" in parameters:
        return {"delays": {name: _delay(measure, parameters, name, random, sets) for name in parameters["changes"]}}
    timed = "timed" in parameters
    lengths = [250] if timed else [parameters["horizon"]] * parameters["streams"]
    began = time.process_time()
    paths = [np.fromiter(measure(Mixture(sets, NOTHING, random, n).values(0, n)), np.float64) for n in lengths]
    spent = (time.process_time() - began) / sum(lengths) * 1e6
    found: dict[str, Any] = {"CPU us an event": spent, "seconds to configure": configured}
    return found if timed else found | {"paths": [records_of(path) for path in paths]}


def _delay(
    measure: Measure, parameters: Mapping[str, Any], name: str, random: np.random.Generator, sets: Mapping[str, Any]
) -> int:
    mixture = Mixture(sets, CHANGES[name], random, parameters["horizon"])
    stream = mixture.values(CHANGE_AT - WARM, len(mixture))
    for i, number in enumerate(measure(stream)):
        if i >= WARM and number > parameters["threshold"]:
            return i + 1 - WARM
    return int(parameters["horizon"])


def main() -> None:
    """One request on stdin, one answer on the last line of stdout."""
    request = json.load(sys.stdin)
    sets = {name: from_bfloat16(np.load(file)) for name, file in request["files"].items()}
    print(json.dumps(run(request["parameters"], request["seed"], sets)))


if __name__ == "__main__":
    main()
