"""The secret of an installation, and the token that lets a run report and nobody else."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from sinks.retraining.target import RetrainingConfigurationError

SECRET_BYTES = 32


def callback_token(secret: bytes, run_id: str) -> str:
    """The token of one run; it can be made again from the secret, so it is stored nowhere."""
    return hmac.new(secret, b"tocsin callback\0" + run_id.encode(), hashlib.sha256).hexdigest()


def verify_callback(secret: bytes, run_id: str, token: str) -> bool:
    """Whether a token is the run's; takes equally long for every wrong one."""
    return hmac.compare_digest(callback_token(secret, run_id).encode(), token.encode(errors="replace"))


def load_secret(path: Path) -> bytes:
    """The secret kept in a file, made on first use, readable by its owner alone.

    Raises:
        RetrainingConfigurationError: the file cannot be read or made, is too short, or others may read it.
    """
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise RetrainingConfigurationError(f"{path}: others can read the secret; run chmod 600 on it")
        secret = path.read_bytes()
    except OSError as error:
        raise RetrainingConfigurationError(f"{path}: {error.strerror}") from error
    if len(secret) < SECRET_BYTES:
        raise RetrainingConfigurationError(f"{path}: shorter than {SECRET_BYTES} bytes; remove it to get a new one")
    return secret


def _make(path: Path) -> None:
    """Write the whole secret elsewhere and link it, so that of two processes one wins and neither reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
