"""The energies behind the sampling, and the contacts it keeps."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.units import kB
from numpy.typing import NDArray

from voltase.aseplugin.building.contacts import closest_contact, contact_distance
from voltase.aseplugin.building.molecules import read_body, water
from voltase.aseplugin.building.sampling import COULOMB, CUTOFF, SPCE, Region, Sampler

LATTICE = np.array([[6.5, 0.0], [2.0, 6.0]])
REGION = Region(LATTICE, 2.0, 12.0)


def sampler(count: int = 8, seed: int = 0, walls: bool = True) -> Sampler:
    bodies = [read_body("Na+"), *[water()] * count]
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 1.0, 0.0]]) if walls else np.empty((0, 3))
    numbers = np.full(len(positions), 78)
    return Sampler(bodies, REGION, (positions, numbers), np.random.default_rng(seed))


def slow_total(found: Sampler) -> float:
    """Coulomb and Lennard-Jones energy of all pairs of bodies, images counted one by one."""
    total, count = 0.0, len(found.bodies)
    blocks = [found.positions[found.starts[k] : found.starts[k + 1]] for k in range(count)]
    for i, j in itertools.product(range(count), repeat=2):
        for shift in itertools.product(range(-4, 5), repeat=2):
            if i == j and shift == (0, 0):
                continue
            other = blocks[j].copy()
            other[:, :2] += np.array(shift) @ LATTICE
            if np.linalg.norm(other[0] - blocks[i][0]) < CUTOFF:
                total += 0.5 * pair_energy(found, i, j, blocks[i], other)
    return total


def pair_energy(found: Sampler, i: int, j: int, first: NDArray[np.float64],
                second: NDArray[np.float64]) -> float:  # fmt: skip
    distances = np.linalg.norm(first[:, None] - second, axis=2)
    charges = found.bodies[i].partial_charges[:, None] * found.bodies[j].partial_charges
    energy = COULOMB * (charges / distances).sum()
    depth, size = SPCE
    if 11 in (found.bodies[i].numbers[0], found.bodies[j].numbers[0]):
        names = ["Na" if found.bodies[k].numbers[0] == 11 else "O" for k in (i, j)]
        depth, size = 0.005, (contact_distance(*names) + 0.4) / 2 ** (1 / 6)
    ratio = (size / distances[0, 0]) ** 6
    return float(energy + 4.0 * depth * (ratio**2 - ratio))


def test_energy_of_a_small_cell_against_a_sum_over_images() -> None:
    found = sampler(walls=False)
    found.run(40)
    assert not found.overlapping()
    # A move of one body changes its own energy as it changes the sum over all pairs.
    own, total = found.energy(3), slow_total(found)
    found.positions[found.starts[3] : found.starts[4]] += [0.02, -0.03, 0.01]
    assert found.energy(3) - own == pytest.approx(slow_total(found) - total, abs=1e-9)
    assert abs(found.energy(3) - own) > 1e-3


def test_a_lattice_vector_changes_nothing() -> None:
    found = sampler()
    found.run(20)
    before = [found.energy(k) for k in range(9)]
    found.positions[found.starts[4] : found.starts[5], :2] += LATTICE[0] - 2 * LATTICE[1]
    np.testing.assert_allclose([found.energy(k) for k in range(9)], before, atol=1e-9)


def test_bodies_stay_rigid_and_in_their_region() -> None:
    found = sampler()
    found.run(60)
    for k, body in enumerate(found.bodies):
        atoms = found.positions[found.starts[k] : found.starts[k + 1]]
        expected = np.linalg.norm(body.positions[:, None] - body.positions, axis=2)
        np.testing.assert_allclose(np.linalg.norm(atoms[:, None] - atoms, axis=2), expected,
                                   atol=1e-9)  # fmt: skip
        assert REGION.lower <= atoms[0, 2] <= REGION.upper


def test_two_atoms_follow_boltzmann() -> None:
    """Their mean energy is that of an integral over where they can be."""
    lattice = 12.0 * np.eye(2)
    region = Region(lattice, 0.0, 2.5)
    bodies = [read_body("Ar"), read_body("Ar")]
    found = Sampler(bodies, region, (np.empty((0, 3)), np.empty(0, dtype=np.int64)),
                    np.random.default_rng(1))  # fmt: skip
    found.positions[:] = [[0.0, 0.0, 1.0], [3.9, 0.0, 1.0]]
    temperature, energies = 40.0, []
    for _ in range(8000):
        found.sweep(temperature)
        energies.append(found.energy(0))
    # Weights of a distance in the plane and a difference of heights in the slit.
    contact = contact_distance("Ar", "Ar")
    size = (contact + 0.4) / 2 ** (1 / 6)
    dx, dy, dz = np.meshgrid(np.arange(-6, 6, 0.1), np.arange(-6, 6, 0.1),
                             np.arange(0.05, 2.5, 0.1), indexing="ij")  # fmt: skip
    r = np.sqrt(dx**2 + dy**2 + dz**2)
    ratio = (size / np.maximum(r, contact)) ** 6
    energy = np.where(r < CUTOFF, 0.02 * (ratio**2 - ratio), 0.0)
    weight = np.where(r < contact, 0.0, (2.5 - dz) * np.exp(-energy / (kB * temperature)))
    expected = (energy * weight).sum() / weight.sum()
    blocks = np.array(energies[2000:]).reshape(20, -1).mean(axis=1)
    error = blocks.std(ddof=1) / 20**0.5
    assert error < 0.1 * abs(expected)
    assert abs(blocks.mean() - expected) < 4.0 * error


@pytest.mark.parametrize(("share", "overlapping"), [(0.98, True), (1.02, False)])
def test_an_overlap_counts_however_strong_the_attraction(share: float, overlapping: bool) -> None:
    """A cation on the oxygen's side of a water, just below and just above contact."""
    alone = Sampler([read_body("Ca2+"), water()], REGION, (np.empty((0, 3)), np.empty(0, int)),
                    np.random.default_rng(0))  # fmt: skip
    body = water().positions
    outwards = -body[1:].mean(axis=0) / np.linalg.norm(body[1:].mean(axis=0))
    alone.positions[1:] = body
    alone.positions[0] = share * contact_distance("Ca", "O") * outwards
    assert alone.overlapping() is overlapping


def test_contact_distances() -> None:
    assert contact_distance("O", "O") == pytest.approx(2.42)
    assert contact_distance("H", "O") == contact_distance("O", "H") == pytest.approx(1.52)
    assert contact_distance("Pt", "O") == pytest.approx(2.07)


def test_the_image_of_a_molecule_is_another_molecule() -> None:
    atoms = Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.2]], cell=[10, 10, 3.0], pbc=True)
    margin, pair = closest_contact(atoms, np.array([1, 1]))
    assert margin == pytest.approx(1.8 - contact_distance("O", "O"))
    assert "1.80 A apart" in pair
    assert closest_contact(atoms, np.array([0, 0]))[0] == np.inf
