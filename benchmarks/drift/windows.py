"""The usual ways, as measures: distance of window means, window MMD, NEWMA. Their thresholds are set by an oracle.

A *measure* gives one number a unit; an alarm is a number above the threshold. MMD with the Gaussian kernel (Gretton et
al. 2012, unbiased) between the last W units and the whole reference; NEWMA (Keriven, Garreau, Poli, arXiv 1805.08061)
on random Fourier features, here with the reference's mean to start from and the threshold of the oracle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.signal import lfilter

from benchmarks.drift.changes import CHANGE_AT, CHANGES, NOTHING, NULL, SETS, Mixture
from benchmarks.drift.ledger import Record
from benchmarks.drift.thresholds import above, records_of
from detectors.drift import Float32Array, FloatArray

__all__ = ["MEASURES", "SETS", "SOURCES", "run"]

SOURCES = tuple(f"benchmarks/drift/{name}.py" for name in ("windows", "thresholds", "changes", "texts"))
MEAN_WINDOWS = (100, 500)
MMD_WINDOWS = (25, 100, 400)
NEWMA_WINDOW = 250
NEWMA_RATIO = 4.0
FEATURES = 512
MEASURES = (
    *(f"mean distance, window {window}" for window in MEAN_WINDOWS),
    *(f"MMD, window {window}" for window in MMD_WINDOWS),
    f"NEWMA, window {NEWMA_WINDOW}",
)
FIRST_LOOK = 4_096
BLOCK = 128


def run(parameters: Mapping[str, Any], seed: int, sets: Mapping[str, Float32Array]) -> Record:
    """With `thresholds`: delays of every measure at each of them; else records for their calibration."""
    random = np.random.default_rng((seed, 3))
    ordinary = sets[NULL]
    calibrating = "thresholds" not in parameters
    used = {name: sets[name] for name in ((NULL,) if calibrating else SETS)}
    measures = Measures(ordinary[random.integers(len(ordinary), size=parameters["units"])], used, random)
    if calibrating:
        streams = [Mixture(sets, NOTHING, random, parameters["horizon"]) for _ in range(parameters["streams"])]
        paths = [measures.paths(stream, len(stream)) for stream in streams]
        return {name: [records_of(path[name]) for path in paths] for name in MEASURES}
    return {
        name: [
            _delays(measures, Mixture(sets, CHANGES[name], random, parameters["horizon"]), parameters["thresholds"])
            for _ in range(parameters["streams"])
        ]
        for name in parameters["changes"]
    }


def _delays(measures: Measures, mixture: Mixture, thresholds: Mapping[str, list[float]]) -> dict[str, list[int | None]]:
    """Of each measure, delay at each of its thresholds; none if there is none."""
    stop = CHANGE_AT + FIRST_LOOK
    while True:
        stop = min(stop, len(mixture))
        paths = measures.paths(mixture, stop)
        found = {name: [above(paths[name][CHANGE_AT:], one) for one in thresholds[name]] for name in MEASURES}
        if stop == len(mixture) or not any(None in delays for delays in found.values()):
            return found
        stop *= 4


class Measures:
    """All measures against one reference (N, d).

    What a unit contributes by itself is a table over the rows of the sets, made once.
    """

    def __init__(self, reference: Float32Array, sets: Mapping[str, Float32Array], random: np.random.Generator) -> None:
        self._centre = reference.mean(axis=0)
        sample = reference[random.integers(len(reference), size=(2, 2_000))]
        squares = np.sum((sample[0] - sample[1]) ** 2, axis=1)
        self._gamma = np.float32(1 / float(np.median(squares)))  # kernel exp(-gamma |x - y|^2), median heuristic
        self._kernel = {name: self._mean_kernel(vectors, reference) for name, vectors in sets.items()}
        within = float(self._mean_kernel(reference, reference).sum(dtype=np.float64)) - 1.0
        self._within = within / (len(reference) - 1)  # mean over pairs of different units
        weights = random.normal(size=(reference.shape[1], FEATURES)) * math.sqrt(2 * float(self._gamma))
        phases = random.random(FEATURES) * 2 * math.pi
        self._features = {
            name: np.cos(vectors @ weights.astype(np.float32) + phases.astype(np.float32))
            * np.float32(math.sqrt(2 / FEATURES))
            for name, vectors in sets.items()
        }
        self._start = np.cos(reference @ weights + phases).mean(axis=0) * math.sqrt(2 / FEATURES)

    def _mean_kernel(self, vectors: Float32Array, reference: Float32Array) -> Float32Array:
        found = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), 1_024):
            block = vectors[start : start + 1_024] @ reference.T
            found[start : start + 1_024] = np.exp(2 * self._gamma * (block - 1), out=block).mean(axis=1)
        return found

    def paths(self, mixture: Mixture, stop: int) -> dict[str, FloatArray]:
        """(stop,) of every measure; -inf until its window is full."""
        vectors = mixture.values(0, stop)
        sums = np.cumsum(vectors - self._centre, axis=0, dtype=np.float64)
        found = {f"mean distance, window {window}": _length_of_mean(sums, window) for window in MEAN_WINDOWS}
        cross = mixture.of(self._kernel, 0, stop).astype(np.float64)
        pairs = _pairs(vectors, self._gamma)
        for window in MMD_WINDOWS:
            found[f"MMD, window {window}"] = self._mmd(cross, pairs[window], window)
        found[f"NEWMA, window {NEWMA_WINDOW}"] = self._newma(mixture.of(self._features, 0, stop))
        return found

    def _mmd(self, cross: FloatArray, pairs: FloatArray, window: int) -> FloatArray:
        sums = np.cumsum(cross)
        sums[window:] -= sums[:-window].copy()
        found = self._within + pairs * 2 / (window * (window - 1)) - 2 * sums / window
        found[: window - 1] = -np.inf
        return found

    def _newma(self, features: Float32Array) -> FloatArray:
        slow = math.log(NEWMA_RATIO) / (NEWMA_WINDOW * (NEWMA_RATIO - 1))  # B = log(L/l) / (L - l) to first order
        difference = np.zeros(features.shape, np.float32)
        for sign, rate in ((1, NEWMA_RATIO * slow), (-1, slow)):
            weights = np.array([rate], np.float32), np.array([1, rate - 1], np.float32)
            start = ((1 - rate) * self._start)[None].astype(np.float32)
            difference += sign * lfilter(*weights, features, axis=0, zi=start)[0]
        return np.asarray(np.sqrt(np.einsum("nd,nd->n", difference, difference)), np.float64)


def _length_of_mean(sums: FloatArray, window: int) -> FloatArray:
    """(n,) length of the mean of the last units, from sums (n, d) of all units so far."""
    found = np.full(len(sums), -np.inf)
    last = sums[window - 1 :].copy()
    last[1:] -= sums[:-window]
    found[window - 1 :] = np.sqrt(np.einsum("nd,nd->n", last, last)) / window
    return found


def _pairs(vectors: Float32Array, gamma: np.float32) -> dict[int, FloatArray]:
    """(n,) of each window: sum of the kernel over all pairs among its last units, by what enters and what leaves."""
    n, widest = len(vectors), max(MMD_WINDOWS)
    back = {window: np.zeros(n) for window in MMD_WINDOWS}
    ahead = {window: np.zeros(n) for window in MMD_WINDOWS}
    for start in range(0, n, BLOCK):
        stop, first, last = min(start + BLOCK, n), max(0, start - widest), min(start + BLOCK + widest, n)
        block = vectors[start:stop] @ vectors[first:last].T
        sums = np.zeros((stop - start, last - first + 1), np.float32)
        np.cumsum(np.exp(2 * gamma * (block - 1), out=block), axis=1, out=sums[:, 1:])
        rows, own = np.arange(stop - start), np.arange(start, stop) - first
        for window in MMD_WINDOWS:
            back[window][start:stop] = sums[rows, own] - sums[rows, np.maximum(own - window + 1, 0)]
            ahead[window][start:stop] = sums[rows, np.minimum(own + window, last - first)] - sums[rows, own + 1]
    for window in MMD_WINDOWS:
        back[window][window:] -= ahead[window][:-window]
    return {window: np.cumsum(change) for window, change in back.items()}
