"""The mean of something that is known of few interactions, with the help of what is known of all of them.

Prediction-powered inference: whatever predicts the labels, however badly, only makes the interval shorter; what it gets
wrong on the labelled ones is taken off again. What has to be true is that the labelled ones are a random sample.

Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference (2023); Angelopoulos, Duchi and Zrnic,
PPI++ (2023) for the weight of the predictions; Zrnic and Candès, Cross-prediction-powered inference (2024) for
predictions that are learned from the same labels.
"""

from detectors.estimation.powered import LEAST_LABELS, Estimate, FloatArray, estimate_mean
from detectors.estimation.predictions import cross_predicted

__all__ = ["LEAST_LABELS", "Estimate", "FloatArray", "cross_predicted", "estimate_mean"]
