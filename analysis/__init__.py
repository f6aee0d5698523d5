"""Analysis of interfacial water with MDAnalysis, one observable a file. Nothing here imports torch.

Importing this package makes MDAnalysis read ASE trajectories: ``MDAnalysis.Universe("md.traj")``.
`load` takes everything else too. The observables are subclasses of MDAnalysis's AnalysisBase.
"""

from voltase.analysis.coverage import SiteCoverage
from voltase.analysis.density import DensityProfile
from voltase.analysis.diffusion import InPlaneMSD
from voltase.analysis.dipole import NetDipole
from voltase.analysis.hbonds import HydrogenBonds
from voltase.analysis.interface import find_interface
from voltase.analysis.orientation import WaterOrientation
from voltase.analysis.potential import ChargeProfile
from voltase.analysis.rdf import SlabRDF
from voltase.analysis.readers import load
from voltase.analysis.reorientation import Reorientation
from voltase.analysis.residence import Residence
from voltase.analysis.species_counts import SpeciesCounts
from voltase.analysis.together import Together
from voltase.analysis.vdos import VibrationalDOS

__all__ = [
    "ChargeProfile",
    "DensityProfile",
    "HydrogenBonds",
    "InPlaneMSD",
    "NetDipole",
    "Reorientation",
    "Residence",
    "SiteCoverage",
    "SlabRDF",
    "SpeciesCounts",
    "Together",
    "VibrationalDOS",
    "WaterOrientation",
    "find_interface",
    "load",
]
