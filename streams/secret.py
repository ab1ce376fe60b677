"""The secret of an installation: configured, or made once and kept in the data directory."""

from __future__ import annotations

from sinks.retraining.token import load_secret
from streams.settings import Settings


def installation_secret(settings: Settings) -> bytes:
    """What signs webhooks and callbacks; gateway and respond stage need the same."""
    configured = settings.retraining.secret.get_secret_value()
    return configured.encode() if configured else load_secret(settings.data_directory / "secret")
