"""Electronic-structure codes behind one protocol (planned)."""
