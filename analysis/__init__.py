"""Analysis of constant-potential trajectories with MDAnalysis, one observable a file.

Planned: density and charge profiles along the surface normal, water orientation, the potential
drop across the interface, and capacitance from charge fluctuations. Nothing here imports torch.
"""
