"""Neighbour lists: complete, in one order, and independent of when they were built."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig
from voltase.aseplugin.models.graph import Graph
from voltase.aseplugin.models.pemace import PEMACEConfig
from voltase.aseplugin.structures import (
    SMALLEST_DISTANCE,
    SkinNeighbours,
    build_graph,
    neighbour_list,
)
from voltase.aseplugin.testing import pt111_water

CONFIG = PEMACEConfig(
    symbols=["H", "O", "Pt"],
    backbone=BackboneConfig(r_max=4.5, pair_cutoffs={"H-H": 3.0, "H-O": 4.0}),
)


def left_handed() -> Atoms:
    atoms = pt111_water()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    return atoms


def skewed() -> Atoms:
    atoms = pt111_water()
    atoms.cell[2] += 3 * atoms.cell[0]
    atoms.cell[1] -= 2 * atoms.cell[0]
    return atoms


def open_normal() -> Atoms:
    atoms = pt111_water()
    atoms.pbc = (True, True, False)
    atoms.cell[2] = 0.0
    atoms.positions[:, 2] -= 7.0
    return atoms


def outside() -> Atoms:
    atoms = pt111_water()
    atoms.positions[::2] += [31.0, -77.0, 52.0]
    return atoms


STRUCTURES = {
    "slab": pt111_water,
    "smaller than the cutoff": lambda: pt111_water((1, 1, 3), waters=1),
    "left-handed": left_handed,
    "skewed": skewed,
    "open normal": open_normal,
    "atoms outside the cell": outside,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_same_neighbours_as_ase(name: str) -> None:
    atoms = STRUCTURES[name]()
    (sender, receiver), shift = neighbour_list(atoms, 4.5)
    found = {(i, j, *s) for i, j, s in zip(sender, receiver, shift.tolist(), strict=True)}
    assert len(found) == len(sender)
    i, j, s = neighbor_list("ijS", atoms, 4.5)
    assert found == {(a, b, *c) for a, b, c in zip(i, j, s.tolist(), strict=True)}
    assert len(found) > len(atoms)
    assert (np.diff(receiver) >= 0).all()


def longest_edges(config: PEMACEConfig) -> dict[str, float]:
    """Longest edge in A of each pair of elements."""
    atoms = pt111_water(waters=8)
    graph = build_graph(atoms, config)
    lengths = torch.linalg.vector_norm(graph.edge_vectors(), dim=1).tolist()
    symbols = np.array(atoms.get_chemical_symbols())
    longest: dict[str, float] = {}
    for pair, length in zip(symbols[graph.edge_index.T.numpy()].tolist(), lengths, strict=True):
        key = "-".join(sorted(pair))
        longest[key] = max(length, longest.get(key, 0.0))
    return longest


def test_edges_respect_the_cutoff_of_their_pair() -> None:
    uniform = longest_edges(replace(CONFIG, backbone=BackboneConfig(r_max=4.5)))
    assert set(uniform) == {"H-H", "H-O", "H-Pt", "O-O", "O-Pt", "Pt-Pt"}
    assert min(uniform["H-H"], uniform["H-O"]) > 4.4
    assert max(uniform.values()) < 4.5
    shorter = longest_edges(CONFIG)
    assert 2.8 < shorter.pop("H-H") < 3.0
    assert 3.8 < shorter.pop("H-O") < 4.0
    assert shorter == {pair: uniform[pair] for pair in shorter}


def test_unknown_element() -> None:
    atoms = pt111_water()
    atoms.symbols[3] = "Au"
    with pytest.raises(InputError, match="^atoms: element Au unknown to the model, .*H, O, Pt$"):
        build_graph(atoms, CONFIG)


def random_walk(steps: int = 30, step: float = 0.03) -> list[Atoms]:
    rng = np.random.default_rng(1)
    atoms, frames = pt111_water(), []
    for _ in range(steps):
        atoms.positions += rng.normal(scale=step, size=atoms.positions.shape)
        frames.append(atoms.copy())
    return frames


def check_equal(first: Graph, second: Graph) -> None:
    for name in ("positions", "species", "edge_index", "shifts", "face", "normals", "areas"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_skin_gives_the_same_bits() -> None:
    frames = random_walk()
    kept, fresh = SkinNeighbours(CONFIG, 0, 0.8), SkinNeighbours(CONFIG, 0, 0.0)
    for atoms in frames:
        check_equal(kept.graph(atoms)[0], fresh.graph(atoms)[0])
        check_equal(kept.graph(atoms)[0], build_graph(atoms, CONFIG))
    assert fresh.builds == len(frames)
    assert 1 < kept.builds < 0.5 * len(frames)


def test_list_is_kept_until_an_atom_has_moved_half_the_skin() -> None:
    atoms = pt111_water()
    neighbours = SkinNeighbours(CONFIG, 0, 0.5)
    neighbours.graph(atoms)
    atoms.positions[5] += [0.0, 0.24, 0.0]
    neighbours.graph(atoms)
    assert neighbours.builds == 1
    atoms.positions[5] += [0.0, 0.02, 0.0]
    neighbours.graph(atoms)
    assert neighbours.builds == 2


@pytest.mark.parametrize("change", ["cell", "pbc", "numbers", "count"])
def test_another_structure_gets_a_new_list(change: str) -> None:
    atoms = pt111_water()
    neighbours = SkinNeighbours(CONFIG, 0, 0.5)
    neighbours.graph(atoms)
    if change == "cell":
        atoms.set_cell(atoms.cell.array * 1.001)
    elif change == "pbc":
        atoms.pbc = (True, True, False)
    elif change == "numbers":
        atoms.numbers[-1] = 8
    else:
        del atoms[-3:]
    check_equal(neighbours.graph(atoms)[0], build_graph(atoms, CONFIG))
    assert neighbours.builds == 2


def test_a_refused_structure_leaves_no_trace() -> None:
    atoms = pt111_water()
    neighbours = SkinNeighbours(CONFIG, 0, 0.5)
    expected = neighbours.graph(atoms)[0]
    wrong = pt111_water(waters=0, below=4)
    wrong.symbols[3] = "Au"
    with pytest.raises(InputError, match="Au"):
        neighbours.graph(wrong)
    check_equal(neighbours.graph(atoms)[0], expected)


def test_wrapping_needs_no_new_physics() -> None:
    atoms = pt111_water()
    before = SkinNeighbours(CONFIG, 0, 0.5).graph(atoms)[0].edge_vectors()
    atoms.positions += [5.0, 3.0, 0.0]
    atoms.wrap()
    after = SkinNeighbours(CONFIG, 0, 0.5).graph(atoms)[0].edge_vectors()
    lengths = [torch.sort(torch.linalg.vector_norm(v, dim=1)).values for v in (before, after)]
    np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-12)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 0.3, 0.49])
def test_overlapping_atoms_are_named(distance: float) -> None:
    atoms = pt111_water()
    atoms.positions[13] = atoms.positions[12] + [0.0, 0.0, distance]
    with pytest.raises(InputError, match=rf"^atoms: O 12 and H 13 are {distance:.3f} A apart"):
        SkinNeighbours(CONFIG, 0, 0.5).graph(atoms)


def test_overlap_through_the_boundary_and_after_the_list_was_built() -> None:
    atoms = pt111_water()
    neighbours = SkinNeighbours(CONFIG, 0, 2.0)
    atoms.positions[12:14, 0] += 30 * atoms.cell[0, 0]
    neighbours.graph(atoms)
    atoms.positions[13] += 0.6 * (atoms.positions[12] - atoms.positions[13])
    with pytest.raises(InputError, match=f"expected at least {SMALLEST_DISTANCE} A"):
        neighbours.graph(atoms)
    assert neighbours.builds == 1


def test_no_neighbours_at_all() -> None:
    atoms = Atoms("O", cell=[20.0, 20.0, 20.0], pbc=True)
    graph, _ = SkinNeighbours(CONFIG, 0, 0.5).graph(atoms)
    assert graph.edge_index.shape == (2, 0)
    assert graph.shifts.shape == (0, 3)
