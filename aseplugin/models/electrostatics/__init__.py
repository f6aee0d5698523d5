"""Electrostatics of Gaussian charges in open, bulk and slab boundary conditions.

`coulomb_matrix` is the interaction as a matrix that torch can differentiate twice; `make_operator`
gives products with the same matrix, from a few atoms to many thousands.
"""

from voltase.aseplugin.models.electrostatics.factory import make_operator
from voltase.aseplugin.models.electrostatics.matrix import coulomb_matrix
from voltase.aseplugin.models.electrostatics.operators import CoulombOperator, Derivatives
from voltase.aseplugin.models.electrostatics.pairs import SkinPairs

__all__ = ["CoulombOperator", "Derivatives", "SkinPairs", "coulomb_matrix", "make_operator"]
