"""Electronic-structure codes behind one protocol."""
