"""Rebuilds the shipped heads: `python -m detectors.heads.training --data DIRECTORY --out detectors/heads`.

`sources` reads the public sets; `sentences` are our own, `derived` and `nonsense` are made by rules. `encoded` encodes
each text once and keeps it. `toxicity` and `injection`, both fitted by `blended`, and `refusal` are measured on what
they never saw; `cards`, `measures` and `notes` make the cards. Nothing here is imported in production.
"""
