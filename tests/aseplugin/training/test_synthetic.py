"""The analytic electrode behind the tests: its derivatives and its labels."""

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.synthetic import PointChargeElectrode, synthetic_frames


def test_forces_and_potential_are_derivatives() -> None:
    atoms = synthetic_frames(1, charges=1, seed=4)[0]
    atoms.calc = PointChargeElectrode(0.07)
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    assert np.allclose(atoms.get_forces(), numerical, atol=2e-6)
    energies = []
    for n in (0.069, 0.071):
        atoms.calc.excess_electrons = n
        energies.append(atoms.get_potential_energy())
    atoms.calc.excess_electrons = 0.07
    atoms.get_potential_energy()
    slope = -(energies[1] - energies[0]) / 0.002
    assert atoms.calc.results["electrode_potential"] == pytest.approx(slope, abs=1e-8)


def test_frames_are_labelled_reproducible_and_small() -> None:
    frames = synthetic_frames(3, charges=2, largest=0.002, waters=1, seed=9)
    assert len(frames) == 6
    again = synthetic_frames(3, charges=2, largest=0.002, waters=1, seed=9)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, again, strict=True))
    for frame in frames:
        area = np.linalg.norm(np.cross(*frame.cell.array[:2]))
        assert abs(frame.info["excess_electrons"]) <= 0.002 * area
        assert len(frame) == 11
        assert frame.arrays["REF_forces"].shape == (11, 3)
        # Charges add to zero, so the electrode's field exerts no net force.
        assert np.allclose(frame.arrays["REF_forces"].sum(0), 0.0, atol=1e-9)
    assert np.array_equal(frames[0].positions, frames[1].positions)
    assert not np.array_equal(frames[1].positions, frames[2].positions)


def test_there_is_room_for_four_molecules() -> None:
    with pytest.raises(InputError, match="waters"):
        synthetic_frames(1, waters=5)
