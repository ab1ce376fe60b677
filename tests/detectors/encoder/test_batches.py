from hypothesis import given
from hypothesis import strategies as st

from detectors.encoder.batches import Shape, batches

LENGTHS = st.lists(st.integers(1, 256), max_size=60)
SHAPES = st.builds(Shape, chunks=st.integers(1, 12), tokens=st.integers(1, 2_000), pads=st.booleans())


@given(LENGTHS, SHAPES)
def test_every_chunk_is_computed_once(lengths, shape):
    assert sorted(index for batch in batches(lengths, shape) for index in batch) == list(range(len(lengths)))


@given(LENGTHS, SHAPES)
def test_no_batch_is_larger_than_the_shape_unless_it_is_one_chunk(lengths, shape):
    for batch in batches(lengths, shape):
        assert len(batch) <= shape.chunks
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= shape.tokens


@given(LENGTHS, SHAPES)
def test_only_a_shape_that_pads_mixes_lengths(lengths, shape):
    for batch in batches(lengths, shape):
        assert shape.pads or len({lengths[index] for index in batch}) == 1


@given(LENGTHS)
def test_sorting_leaves_little_to_pad(lengths):
    cut = batches(lengths, Shape(chunks=8, tokens=10_000, pads=True))
    longest = [max(lengths[index] for index in batch) for batch in cut]
    assert longest == sorted(longest)
