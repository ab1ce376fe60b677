"""Addresses and numbers of people, and what only looks like them. All are made up, with valid check digits."""

import pytest

from detectors.signals.personal_data import find


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "Write to maria.lopez@post-amt.de, please."),
        ("email", "<j.smith+shop@mail.uni-example.ac.uk>"),
        ("iban", "Send it to DE89 3704 0044 0532 0130 00 today"),
        ("iban", "IBAN: GB82WEST12345698765432"),
        ("card", "My card is 4012 8888 8888 1881, expiring in May."),
        ("card", "5105105105105100"),
        ("card", "Amex 3714 496353 98431"),
        ("ssn", "My SSN is 536-22-8726."),
        ("phone", "Call me at +49 170 4839201 after five"),
        ("phone", "call (415) 867-5309"),
        ("phone", "0171 4839 2017 is my number"),
        ("ip", "requests from 84.137.22.190 fail"),
        ("ip", "from 2a02:8109:9ac0:1234::7"),
    ],
)
def test_it_is_found_as_what_it_is(kind, text):
    assert dict(find(text)) == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user@example.com or your.name@company.com",
        "DE89 3704 0044 0532 0130 01",  # wrong check digits
        "4012 8888 8888 1882",
        "4111 1111 1111 1111",  # a documented test card
        "0000 0000 0000 0000",
        "123-45-6789 and 000-12-3456 and 912-45-6789",
        "127.0.0.1, 192.168.1.20, 10.0.0.5, version 1.2.3.4",
        "at 12:30:45 on 2024-05-17, order 20240517123456",
        "std::vector<int> a::b",
        "252*2=504 and 3.14159265358979 and 1,000,000,000",
        "call (415) 555-0123",  # reserved for fiction
        "ISBN 978-3-16-148410-0",
        "@someone said so",
    ],
)
def test_what_only_looks_like_it_is_not(text):
    assert not find(text)


def test_each_is_counted_once():
    text = "anna@posteo.de, anna@posteo.de, 4012888888881881 and DE89370400440532013000"
    assert dict(find(text)) == {"email": 2, "card": 1, "iban": 1}


def test_the_kinds_are_a_label(scorer):
    scores = scorer.score_texts(["anna@posteo.de has 4012888888881881"])[0]
    assert scores.labels["personal_data_kinds"] == "email, card"
    assert scores.signals["personal_data_count"] == 2
    assert "personal_data" in scores.flags
