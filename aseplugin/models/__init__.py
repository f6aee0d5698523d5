"""Torch modules of the potential-dependent force fields; no ASE here."""

# Before e3nn, whichever module comes first: e3nn 0.4.4 cannot load its constants otherwise.
import mace  # noqa: F401
