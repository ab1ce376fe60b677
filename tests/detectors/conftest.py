"""The real encoder, opened once, and the data where it is at hand."""

import os
from pathlib import Path

import pytest

from detectors.encoder import Encoder, open_encoder
from detectors.scoring import Scorer

AWKWARD = {
    "empty": "",
    "white space": " \n\t ",
    "one long word": "a" * 1_000_000,
    "emoji": "🙂🙃" * 40,
    "many emoji": "🙂" * 300_000,
    "right to left": "هذا نص عربي قصير يكتب من اليمين إلى اليسار.",
    "control characters": "\x00\x01\x02\x7f\x85",
    "lone surrogates": "half \ud83d of a pair \udc00",
    "failed decoding": "\ufffd\ufffd\ufffd text",
    "the same line": "the same line\n" * 10_000,
    "digits": "1" * 300_000,
    "plus signs": "+1 " * 100_000,
    "at signs": "a@" * 150_000,
    "colons": "a:" * 150_000,
    "open brackets": "[" * 300_000,
    "fences that nobody closes": "```json\n" * 40_000,
    "spaces inside": "x" + " " * 300_000 + "x",
    "capitals and digits": "GB29 " * 60_000,
    "exclamation marks": "!" * 300_000 + "x",
    "combining marks": "e" + "\u0301" * 5_000,
}


@pytest.fixture(scope="session")
def cache() -> Path:
    return Path(os.environ.get("TOCSIN_CACHE", Path.home() / ".cache" / "tocsin"))


@pytest.fixture(scope="session")
def encoder(cache: Path) -> Encoder:
    return open_encoder("onnx", cache=cache)


@pytest.fixture(scope="session")
def reference_encoder(cache: Path) -> Encoder:
    return open_encoder("torch", cache=cache)


@pytest.fixture(scope="session")
def scorer(encoder: Encoder) -> Scorer:
    return Scorer(encoder)


@pytest.fixture(scope="session")
def data() -> Path:
    beside = Path(__file__).parents[2] / ".." / "shared" / "data"
    found = Path(os.environ.get("TOCSIN_DATA", beside))
    if not found.is_dir():
        pytest.skip("the data sets are not here; TOCSIN_DATA names their directory")
    return found


@pytest.fixture(params=AWKWARD.values(), ids=AWKWARD.keys())
def awkward(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text
