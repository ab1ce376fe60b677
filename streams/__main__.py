"""`python -m streams` is `tocsin`."""

from streams.cli import main

main()
