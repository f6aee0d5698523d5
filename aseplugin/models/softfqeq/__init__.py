r"""Soft-FQEq as a force field: a feature network, four readouts and charge equilibration.

From the features of the atoms four scalars are read: electronegativity, source charge and
short-range energy of each atom, and the connectivity of each pair near enough to be bonded.
Hardness and width belong to the elements. The layer `charge_equilibration` turns them into charges,
potentials of the fragments and an energy. Source charges fix the charge of every fragment but the
electrode, which takes what the cell's total charge leaves; so Q of the cell goes to the electrode,
and dE/dQ is the electrode's potential.

Where the opposite charge is: it stands on a plane at the height H above the middle of the
electrode, one plane for each wetted face, and potentials are measured from there (or from the mean
of the two planes). The canonical energy contains the capacitor between electrode and plane, and

    electrode_potential = -dE/dn = dE/dQ,   Q = -n.

A field (V/A, along the outward normal) is that of two more plates, one on either side, whose
charges add to zero.

Soft fragments: Peeketi, Uberuaga and Jones, arXiv 2604.27910.
"""

from voltase.aseplugin.models.softfqeq.config import SoftFQEqConfig
from voltase.aseplugin.models.softfqeq.model import ChargeState, Readouts, SoftFQEqModel
from voltase.aseplugin.models.softfqeq.structure import Structure

__all__ = ["ChargeState", "Readouts", "SoftFQEqConfig", "SoftFQEqModel", "Structure"]
