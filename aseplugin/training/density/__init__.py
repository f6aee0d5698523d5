"""Training of PE-EDP models on densities from any code."""
