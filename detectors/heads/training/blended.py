"""Fits heads of the blended form, and says what each would have said of the rows of a fold that it did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from detectors.heads.blended import BlendedHead, blend
from detectors.heads.features import layer_features
from detectors.heads.mlp import Fit, fit, sigmoid
from detectors.heads.ngrams import BUCKETS, NgramModel, ngrams
from detectors.heads.training.sources import Row, hash_of

__all__ = ["FOLDS", "Plan", "Trained", "cross_fit", "labels_of"]

FOLDS = 4
_SEEDS = (0, 1)
_STRENGTH = 10.0
"""Inverse of the regularisation of the n-grams."""

F32 = NDArray[np.float32]
F16 = NDArray[np.float16]


@dataclass(frozen=True)
class Plan:
    """outputs and how much each weighs; spelled: how many of the first ones the n-grams judge."""

    outputs: tuple[str, ...]
    weights: tuple[float, ...]
    spelled: int


@dataclass(frozen=True, eq=False)
class Trained:
    """The head of all rows, and probabilities (rows, outputs) of heads that did not see the fold of a row."""

    head: BlendedHead
    held_out: NDArray[np.float64]


def cross_fit(rows: Sequence[Row], inner: F16, plan: Plan, advance: Callable[[], None], threads: int = 1) -> Trained:
    """Fit to rows and the states (rows, 3, 384) of their texts, `FOLDS` times without a fold and once with all.

    `advance` is called after each; so many as threads are fitted at a time.
    """
    folds = np.array([hash_of(row.key) % FOLDS for row in rows])
    labels = labels_of(rows, plan.outputs)
    weights = np.array([row.weight for row in rows], dtype=np.float32)
    texts = np.array([row.text for row in rows], dtype=object)
    held_out = np.empty(labels.shape, dtype=np.float32)

    def without(fold: int) -> BlendedHead:
        kept, left = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        head = _fit(texts[kept].tolist(), inner[kept], labels[kept], weights[kept], plan)
        held_out[left] = blend(head.parts(texts[left].tolist(), inner[left].astype(np.float32)))
        advance()
        return head

    with ThreadPoolExecutor(threads) as pool:
        head = list(pool.map(without, range(FOLDS + 1)))[-1]  # no row is in the last fold: this head sees all
    # What other rows were derived from would count twice.
    judged = np.where(np.array([row.measured for row in rows])[:, None], labels, np.nan)
    probabilities = np.empty(labels.shape)
    for fold in range(FOLDS):
        scale, shift = _calibration(judged[folds != fold], held_out[folds != fold])
        probabilities[folds == fold] = sigmoid(held_out[folds == fold] * scale + shift)
    scale, shift = _calibration(judged, held_out)
    return Trained(replace(head, scale=scale, shift=shift), probabilities)


def labels_of(rows: Sequence[Row], outputs: Sequence[str]) -> F32:
    """Labels (rows, outputs), NaN where unknown."""
    return np.array([[row.labels.get(output, np.nan) for output in outputs] for row in rows], dtype=np.float32)


def _fit(texts: Sequence[str], inner: F16, labels: F32, weights: F32, plan: Plan) -> BlendedHead:
    outputs = np.array(plan.weights, dtype=np.float32)
    features = layer_features(inner.astype(np.float32))
    last = fit(features[:, -inner.shape[2] :], labels, weights, outputs, Fit(seed=len(_SEEDS)))
    together = tuple(fit(features, labels, weights, outputs, Fit(seed=seed)) for seed in _SEEDS)
    spelling = _fit_ngrams(texts, labels[:, : plan.spelled], weights)
    ones = np.ones(len(outputs), dtype=np.float32)
    return BlendedHead(last, together, spelling, ones, 0 * ones)


def _fit_ngrams(texts: Sequence[str], labels: F32, weights: F32) -> NgramModel:
    """A logistic regression of n-grams for each column of labels (n, outputs); unknown ones are left out."""
    buckets, owners = ngrams(texts)
    counts = np.bincount(owners, minlength=len(texts))
    values = 1 / np.sqrt(counts[owners])
    grams = csr_matrix((values, (owners, buckets)), shape=(len(texts), BUCKETS))
    fitted = []
    for column in labels.T:
        known = np.flatnonzero(~np.isnan(column))
        model = LogisticRegression(C=_STRENGTH, solver="liblinear", tol=1e-3)
        fitted.append(model.fit(grams[known], column[known] == 1, sample_weight=weights[known]))
    return NgramModel(
        np.array([model.coef_[0] for model in fitted], dtype=np.float32),
        np.array([model.intercept_[0] for model in fitted], dtype=np.float32),
    )


def _calibration(labels: F32, logits: F32) -> tuple[F32, F32]:
    """Scale and shift (outputs,) that fit held-out logits to their labels, both (n, outputs) (Platt 1999)."""
    found = []
    for column, logit in zip(labels.T, logits.T, strict=True):
        known = ~np.isnan(column)
        model = LogisticRegression(C=1e6).fit(logit[known, None], column[known] == 1)
        found.append((model.coef_[0, 0], model.intercept_[0]))
    scale, shift = np.array(found, dtype=np.float32).T
    return scale, shift
