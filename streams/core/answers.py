"""How the prompts of a reference were answered: what to compare the answers to like prompts with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.drift import Float32Array, FloatArray, IntArray
from detectors.drift.reference import VectorReference
from detectors.drift.usable import usable

SAMPLE = 256
NEIGHBOUR = 5
CALIPER = 0.3
"""Part of the reference's prompts that lie further from the others than a prompt may that counts as asked before."""


@dataclass(frozen=True)
class Answers:
    """Means of what prompts leave unexplained of responses, by cluster of prompts, and prompts that tell what is like.

    A linear regression fits some topics worse than others, so that its residuals move with the shares of topics;
    compared with the mean of the same topic they do not (post-stratification). It says little about topics that it has
    not seen: of prompts unlike those of the reference nothing is known (matching with a caliper: Cochran and Rubin,
    Sankhya A 35, 1973). Likeness is the plain cosine: weighted as the detectors weigh, new topics pass for known ones.

    Attributes:
        means: (K, d) of the residuals of the prompts in each cluster.
        counts: (K,) how many there were.
        sample: (256, d) prompts.
        likeness: cosine to the fifth nearest of the sample from which on a prompt counts as asked before.
    """

    means: Float32Array
    counts: IntArray
    sample: Float32Array
    likeness: float

    @classmethod
    def of(cls, asked: VectorReference, prompts: Float32Array, residuals: Float32Array) -> Answers:
        """Answers of a reference.

        Args:
            asked: the reference of prompts.
            prompts: (n, d).
            residuals: (n, d) of the pairs that the regression has not seen; NaN for others, which are left out.
        """
        known = usable(prompts) & usable(residuals)
        prompts, residuals = prompts[known], residuals[known]
        clusters = asked.nearest(prompts)
        counts = np.bincount(clusters, minlength=len(asked.occupancy))
        sums = np.zeros((len(counts), residuals.shape[1]))
        np.add.at(sums, clusters, residuals)
        sample = prompts[:: max(1, len(prompts) // SAMPLE)][:SAMPLE]
        among = sample @ sample.T
        np.fill_diagonal(among, -1)
        return cls(
            means=(sums / np.maximum(counts, 1)[:, None]).astype(np.float32),
            counts=counts,
            sample=sample,
            likeness=float(np.quantile(_of_neighbour(among), CALIPER)),
        )

    def asked_before(self, prompts: Float32Array) -> NDArray[np.bool_]:
        """(n,) whether prompts are as like to those of the reference as most of these are to each other."""
        return np.asarray(_of_neighbour(prompts @ self.sample.T) >= self.likeness)

    def shift(self, clusters: IntArray, residuals: Float32Array) -> tuple[FloatArray, float, int]:
        """Mean difference of residuals from those of their clusters: (d,), its variance in units of one unit's, and n.

        Units of a cluster without answers say nothing and are left out.
        """
        known = self.counts[clusters] > 0
        n = int(known.sum())
        difference = (residuals[known] - self.means[clusters[known]]).sum(axis=0, dtype=np.float64) / max(n, 1)
        shares = np.bincount(clusters[known], minlength=len(self.counts)) / max(n, 1)
        return difference, 1 / max(n, 1) + float((shares**2 / np.maximum(self.counts, 1)).sum()), n


def _of_neighbour(cosines: Float32Array) -> Float32Array:
    return np.partition(cosines, -NEIGHBOUR, axis=1)[:, -NEIGHBOUR]
