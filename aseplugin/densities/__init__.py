"""What can be asked of a density on a grid: averages, potential, Bader charges, files."""
