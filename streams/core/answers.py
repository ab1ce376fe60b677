"""How the prompts of a reference were answered: what to compare the answers to like prompts with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.drift import Float32Array, FloatArray, IntArray
from detectors.drift.reference import VectorReference
from detectors.drift.usable import usable


@dataclass(frozen=True)
class Answers:
    """Means of what prompts leave unexplained of responses, by cluster of prompts (post-stratification).

    A linear regression fits some topics worse than others, so that its residuals move with the shares of topics;
    compared with the mean of the same topic they do not.

    Attributes:
        means: (K, d) of the residuals of the prompts in each cluster.
        counts: (K,) how many there were.
    """

    means: Float32Array
    counts: IntArray

    @classmethod
    def of(cls, asked: VectorReference, prompts: Float32Array, residuals: Float32Array) -> Answers:
        """Answers of a reference.

        Args:
            asked: the reference of prompts.
            prompts: (n, d).
            residuals: (n, d) of the pairs that the regression has not seen; NaN for others, which are left out.
        """
        known = usable(prompts) & usable(residuals)
        clusters = asked.nearest(prompts[known])
        counts = np.bincount(clusters, minlength=len(asked.occupancy))
        sums = np.zeros((len(counts), residuals.shape[1]))
        np.add.at(sums, clusters, residuals[known])
        return cls((sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts)

    def shift(self, clusters: IntArray, residuals: Float32Array) -> tuple[FloatArray, float, int]:
        """Mean difference of residuals from those of their clusters: (d,), its variance in units of one unit's, and n.

        Units of a cluster without answers say nothing and are left out.
        """
        known = self.counts[clusters] > 0
        n = int(known.sum())
        difference = (residuals[known] - self.means[clusters[known]]).sum(axis=0, dtype=np.float64) / max(n, 1)
        shares = np.bincount(clusters[known], minlength=len(self.counts)) / max(n, 1)
        return difference, 1 / max(n, 1) + float((shares**2 / np.maximum(self.counts, 1)).sum()), n
