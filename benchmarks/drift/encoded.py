"""The sets as vectors of the shipped encoder: encoded once, set by set, and kept in the cache as bfloat16."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from benchmarks.drift import texts
from detectors.drift import Float32Array
from detectors.encoder import Encoder, open_encoder
from detectors.encoder.bfloat16 import from_bfloat16, to_bfloat16

CHUNK = 128
_encoder: list[Encoder] = []


class Sets(Mapping[str, Float32Array]):
    """Set name to (n, d) unit vectors. It holds names of files alone, so that it travels cheaply between processes.

    Attributes:
        folder: the benchmark's, for all that is kept between runs.
        fingerprint: of the encoder.
    """

    def __init__(self, files: Mapping[str, Path], folder: Path, fingerprint: str) -> None:
        self._files, self.folder, self.fingerprint = dict(files), folder, fingerprint

    def __getitem__(self, name: str) -> Float32Array:
        return _read(self._files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def files(self) -> dict[str, Path]:
        """Where each set's bits are kept."""
        return dict(self._files)


@cache
def _read(file: Path) -> Float32Array:
    return from_bfloat16(np.load(file))


def open_sets(names: Sequence[str], folder: Path, workers: int, progress: Progress) -> Sets:
    """These sets, encoded where they are not yet."""
    encoder = open_encoder("onnx", cache=folder)
    benchmark = folder / "benchmarks" / "drift"
    kept = benchmark / encoder.fingerprint
    kept.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in names:
        lines = texts.SETS[name]()
        digest = hashlib.blake2b("\0".join(lines).encode(), digest_size=4).hexdigest()
        files[name] = kept / f"{name.replace(' ', '-')}-{digest}.npy"
        if not files[name].is_file():
            _write(files[name], _encode(name, lines, folder, workers, progress))
    return Sets(files, benchmark, encoder.fingerprint)


def _write(file: Path, bits: NDArray[np.uint16]) -> None:
    part = file.with_suffix(".part")
    with part.open("wb") as opened:
        np.save(opened, bits)
    part.replace(file)


def _open(folder: Path) -> None:
    _encoder.append(open_encoder("onnx", cache=folder))


def _bits(lines: list[str]) -> NDArray[np.uint16]:
    return to_bfloat16(_encoder[0].encode(lines).vectors)


def _encode(name: str, lines: list[str], folder: Path, workers: int, progress: Progress) -> NDArray[np.uint16]:
    chunks = [lines[start : start + CHUNK] for start in range(0, len(lines), CHUNK)]
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_open, initargs=(folder,)) as pool:
        return np.concatenate(list(progress.track(pool.map(_bits, chunks), len(chunks), description=f"encode {name}")))
