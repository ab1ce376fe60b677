"""Operation: what the service measured and paid."""

from __future__ import annotations

import numpy as np

from detectors.signals import Exchanges, FloatArray, InteractionSignal, Output, Readings
from tocsin.contracts import Interaction

__all__ = ["SIGNALS", "Operation"]

_LEAST_SECONDS = 0.001


class Operation(InteractionSignal):
    """Numbers that the service published, as they are; absent ones do not apply."""

    outputs = (
        Output("latency_ms", "scalar", "time to the whole response", unit="ms", higher_is_worse=True),
        Output("time_to_first_token_ms", "scalar", "time to the first token", unit="ms", higher_is_worse=True),
        Output("cost", "scalar", "cost of the call, in the installation's currency", higher_is_worse=True),
        Output("input_tokens", "scalar", "tokens that the model counted in its input", unit="tokens"),
        Output("output_tokens", "scalar", "tokens that the model produced", unit="tokens"),
        Output(
            "tokens_per_second",
            "scalar",
            "tokens produced a second, from the first one on where its time is known",
            unit="tokens/s",
            higher_is_worse=False,
            watched=False,
        ),
        Output("error", "binary", "the call ended in an error", threshold=0.5, higher_is_worse=True),
    )

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """One column a field."""
        all_of = exchanges.interactions
        usages = [one.usage for one in all_of]
        return Readings(
            {
                "latency_ms": _column([one.latency_ms for one in all_of]),
                "time_to_first_token_ms": _column([one.time_to_first_token_ms for one in all_of]),
                "cost": _column([usage.cost if usage else None for usage in usages]),
                "input_tokens": _column([usage.input_tokens if usage else None for usage in usages]),
                "output_tokens": _column([usage.output_tokens if usage else None for usage in usages]),
                "tokens_per_second": _column([_speed(one) for one in all_of]),
                "error": _column([one.error is not None for one in all_of]),
            }
        )


def _column(values: list[float | int | bool | None] | list[float | None] | list[int | None] | list[bool]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _speed(interaction: Interaction) -> float | None:
    """None where a number is missing, or where no time passed between the first token and the last."""
    tokens = interaction.usage.output_tokens if interaction.usage else None
    if tokens is None or interaction.latency_ms is None:
        return None
    seconds = (interaction.latency_ms - (interaction.time_to_first_token_ms or 0)) / 1000
    return tokens / seconds if seconds >= _LEAST_SECONDS else None


SIGNALS = (Operation,)
