"""Rebuilds the shipped heads: `python -m detectors.heads.training --data DIRECTORY --out detectors/heads`.

`sources` reads the public sets, `sentences` are our own; `encoded` encodes each text once and keeps it; `toxicity`,
`refusal` and `injection` fit a head and measure it on what it never saw; `measures` are the figures of the cards.
Nothing here is imported in production.
"""
