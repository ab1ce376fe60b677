from concurrent.futures import ThreadPoolExecutor

from detectors.encoder.repeats import LONGEST_CHARACTERS, Repeats


class Lengths:
    """Computes lengths, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts):
        self.asked += texts
        return [len(text) for text in texts]


def test_a_text_that_came_before_is_not_computed_again():
    lengths, repeats = Lengths(), Repeats()
    assert repeats.fill(["one", "three"], lengths) == [3, 5]
    assert repeats.fill(["three", "seven", "one"], lengths) == [5, 5, 3]
    assert lengths.asked == ["one", "three", "seven"]


def test_what_was_used_last_is_kept():
    lengths, repeats = Lengths(), Repeats(size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        repeats.fill([text], lengths)
    assert lengths.asked == ["a", "b", "c", "b"]


def test_long_texts_are_not_kept():
    lengths, repeats, long = Lengths(), Repeats(), "x" * (LONGEST_CHARACTERS + 1)
    repeats.fill([long], lengths)
    repeats.fill([long], lengths)
    assert lengths.asked == [long, long]


def test_more_texts_at_once_than_are_kept_all_get_their_value():
    assert Repeats(size=3).fill([str(n) for n in range(50)], Lengths()) == [len(str(n)) for n in range(50)]


def test_threads_may_share_it():
    lengths, repeats, texts = Lengths(), Repeats(size=20), ["x" * n for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: repeats.fill(texts, lengths), range(50)):
            assert found == list(range(40))
