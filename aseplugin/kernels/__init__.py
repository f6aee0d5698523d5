"""Hot loops, one folder each, with a float64 NumPy reference and its fast twins."""
