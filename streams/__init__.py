"""Inbound shell and composition root: gateway, workers, embedded engines, settings, command line."""

import os

# One thread for each product of small matrices: the work is spread over batches, and more threads would only wait. Set
# here because it must be set before numpy is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
