"""Functional core: text and numbers in, signals and evidence out. No input, no output, no clock."""
