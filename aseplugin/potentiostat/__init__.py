"""How the electron number follows a target potential, and the integrators that use it."""
