"""ASE calculators, one file each; thin wrappers without torch maths of their own."""
