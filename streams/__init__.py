"""Inbound shell and composition root: gateway, workers, embedded engines, settings, command line."""
