"""Does the drift detector keep its promise, and how does it compare? Everything behind docs/benchmark-drift.md.

The way through: `texts` names the sets, `encoded` turns them into vectors once, `traffic` and `changes` draw references
and streams from them, `play` runs a detector over a stream. A *family* (`null`, `shifted`, `swapped`, `equal`, `cost`,
`curves`, `packages`) is a kind of experiment: it lists its cells and runs one seed of a cell. `work` deals seeds out to
two processes and appends what they found to a ledger, `tables` reads the ledger, `report` writes the document.

Frozen: every record follows from its cell's parameters and its seed, and from the code of the detectors.
"""
