"""Functional core of the stages: messages in, decisions with their reasons out. No input, no output, no clock."""
