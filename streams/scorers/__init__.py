"""Scorers that ask the network, behind the protocols of `detectors.signals`, and the choice of signals by settings."""
