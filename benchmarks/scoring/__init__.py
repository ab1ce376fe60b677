"""What scoring costs beside the bare model, and beside sentence-transformers: `python -m benchmarks.scoring`."""
