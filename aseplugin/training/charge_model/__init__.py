"""Training of Soft-FQEq models on charges, forces, energies and potentials."""
