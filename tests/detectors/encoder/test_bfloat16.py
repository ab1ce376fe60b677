import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detectors.encoder.bfloat16 import from_bfloat16, round_bfloat16, to_bfloat16

floats = arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=False))


@given(floats)
def test_rounding_agrees_with_torch(x):
    theirs = torch.from_numpy(x.copy()).bfloat16().float().numpy()
    np.testing.assert_array_equal(round_bfloat16(x), theirs)


@given(floats)
def test_what_was_rounded_survives_storage(x):
    rounded = round_bfloat16(x)
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(rounded)), rounded)
    np.testing.assert_array_equal(round_bfloat16(rounded), rounded)


def test_ties_go_to_the_even_neighbour():
    assert round_bfloat16(np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)).tolist() == [1.0, 1 + 2**-6]


def test_not_a_number_stays_none():
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32)
    assert np.isnan(round_bfloat16(bits.view(np.float32))).all()


def test_shapes_are_kept():
    assert to_bfloat16(np.ones((2, 3, 4), np.float32)).shape == (2, 3, 4)
