"""A run that starts, or goes on from its checkpoint if there is one; killed by test_kill.py.

Arguments: the folder of the run and the number of its last step.
"""

import sys
from pathlib import Path

import numpy as np
from ase.constraints import FixAtoms
from ase.units import fs

from voltase.aseplugin.potentiostat.dynamics import ConstantPotentialMD
from voltase.aseplugin.testing import CapacitorOscillators, oscillator_atoms


def main(folder: Path, last_step: int) -> None:
    """Run to the last step."""
    atoms = oscillator_atoms(5)
    calculator = CapacitorOscillators(atoms.positions)
    checkpoint = folder / "run.ckpt"
    if checkpoint.exists():
        dynamics = ConstantPotentialMD.from_checkpoint(checkpoint, calculator)
    else:
        atoms.calc = calculator
        atoms.set_constraint(FixAtoms([0]))
        dynamics = ConstantPotentialMD(
            atoms,
            potential="0.3V@0,-0.3V@400",
            timestep=0.5 * fs,
            temperature_K=300.0,
            rng=np.random.default_rng(0),
            logfile=folder / "md.csv",
            trajectory=folder / "md.traj",
            checkpoint=checkpoint,
            checkpoint_interval=101,
        )
    dynamics.run(last_step - dynamics.nsteps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
