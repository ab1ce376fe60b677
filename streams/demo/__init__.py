"""The demonstration: real conversations through the real system, with four changes in them."""
