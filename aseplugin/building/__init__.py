"""Interfaces built from a bulk crystal, a facet and water; see `interface.build_interface`."""
