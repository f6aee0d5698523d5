"""Torch modules of the potential-dependent force fields; no ASE here."""
