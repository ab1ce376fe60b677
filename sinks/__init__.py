"""Outbound shell: one destination a file."""
