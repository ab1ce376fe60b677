"""What the parts cost and what they keep; each prints its figures, none is a test."""
