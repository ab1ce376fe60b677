"""Files of interactions, scored and replayed without engines.

`records` reads a file, `interactions` makes sense of its lines, `scoring` scores them, `replay` feeds them to the very
monitors that watch live traffic, `checkpoint` keeps how far it is, and `backtest` puts that together.
"""
