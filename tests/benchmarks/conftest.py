"""The data where it is at hand."""

from pathlib import Path

import pytest

from benchmarks.drift import texts


@pytest.fixture(scope="session")
def data() -> Path:
    if not texts.DATA.is_dir():
        pytest.skip("the data sets are not here; TOCSIN_DATA names their directory")
    return texts.DATA
