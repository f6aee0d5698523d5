"""A slab wetted on both sides: one potential, shared charge, smooth division of the metal."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms

from voltase.aseplugin.calculators.pemace import PEMACE
from voltase.aseplugin.faces import find_faces
from voltase.aseplugin.models.electrode import polynomial
from voltase.aseplugin.models.graph import collate
from voltase.aseplugin.models.pemace import (
    Description,
    PEMACEConfig,
    PEMACEModel,
    share_charge,
)
from voltase.aseplugin.structures import build_graph
from voltase.aseplugin.testing import pt111_water


def one_sided() -> Atoms:
    return pt111_water(waters=3, vacuum=24.0, displacement=0.0, seed=4)


def two_sided() -> Atoms:
    """The one-sided slab with its water repeated at the metal's centre of inversion."""
    atoms = one_sided()
    metal = atoms.symbols == "Pt"
    centre = atoms.positions[metal][4:5]  # an atom of the middle layer
    water = atoms[~metal]
    water.positions = 2.0 * centre - water.positions
    return atoms + water


def bond_dipoles_only(model: PEMACEModel) -> None:
    """Leave fixed charges on the O-H bonds: the metal takes no part in the field."""
    with torch.no_grad():
        model.electrode.vector_mix.zero_()
        model.electrode.screening.weight.zero_()
        for network in (model.electrode.gate, model.electrode.scalar):
            network[2].weight.zero_()
            network[2].bias.zero_()


def test_the_centre_is_one_of_inversion() -> None:
    atoms = two_sided()
    inverted = atoms.copy()
    inverted.positions = 2.0 * atoms.positions[4] - atoms.positions
    together = atoms + inverted
    together.pbc = True
    distances = together.get_all_distances(mic=True)[: len(atoms), len(atoms) :]
    np.testing.assert_allclose(distances.min(axis=1), 0.0, atol=1e-6)


def test_symmetric_slab(calculator: PEMACE) -> None:
    atoms = two_sided()
    forces = calculator.get_property("forces", atoms)
    upper, lower = slice(12, 21), slice(21, 30)
    np.testing.assert_allclose(forces[upper], -forces[lower], atol=2e-6)
    np.testing.assert_allclose(forces.sum(0), 0.0, atol=1e-9)


def test_dipoles_of_a_symmetric_slab_cancel(pemace: Callable[..., PEMACE]) -> None:
    model = pemace().evaluator.model
    atoms = two_sided()
    graph = build_graph(atoms, model.config)
    dipoles = model.electrode.dipoles(graph, model.backbone(graph))
    assert float(dipoles.abs().max()) > 0.01
    np.testing.assert_allclose(dipoles.sum(0), 0.0, atol=1e-6)
    description = model.describe(graph)
    first, second = description.coefficients
    assert float(first[:, 1].abs().min()) > 0.1
    np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize("embedding", ["electrons", "potential"])
def test_two_faces_are_twice_one(pemace: Callable[..., PEMACE], embedding: str) -> None:
    calculator = pemace(embedding, "dipole")
    model = calculator.evaluator.model
    kept = {name: value.clone() for name, value in model.electrode.state_dict().items()}
    bond_dipoles_only(model)
    try:
        if embedding == "electrons":
            check_twice_at_charge(calculator)
        else:
            check_twice_at_potential(calculator)
    finally:
        model.electrode.load_state_dict(kept)


def check_twice_at_charge(calculator: PEMACE) -> None:
    energies, potentials = [], []
    for atoms, faces in ((one_sided(), 1), (two_sided(), 2)):
        field = []
        for n in (0.0, 0.07 * faces):
            calculator.excess_electrons = n
            field.append(calculator.get_potential_energy(atoms))
        energies.append((field[1] - field[0]) / faces)
        potentials.append(calculator.results["electrode_potential"])
    assert abs(energies[0]) > 0.1
    assert energies[1] == pytest.approx(energies[0], abs=1e-9)
    assert potentials[1] == pytest.approx(potentials[0], abs=1e-9)


def check_twice_at_potential(calculator: PEMACE) -> None:
    charges = []
    for atoms in (one_sided(), two_sided()):
        calculator.absolute_potential = 4.0
        calculator.get_potential_energy(atoms)
        charges.append(calculator.results["excess_electrons"])
    assert abs(charges[0]) > 0.005
    assert charges[1] == pytest.approx(2 * charges[0], rel=1e-9)


def unequal_faces(model: PEMACEModel) -> tuple[Description, torch.Tensor, torch.Tensor]:
    graph = build_graph(pt111_water(waters=4, below=2, seed=2), model.config)
    description = model.describe(graph)
    electrons = torch.tensor([0.2], dtype=torch.float64)
    density = share_charge(graph, description.coefficients, electrons).detach()
    return description, density, graph.areas


def test_faces_meet_at_one_potential(
    pemace_model: Callable[[str, str], PEMACEModel],
) -> None:
    description, density, areas = unequal_faces(pemace_model("electrons", "dipole"))
    potentials = -polynomial(description.coefficients, density, 1) / areas.unsqueeze(1)
    np.testing.assert_allclose(potentials[0].detach(), potentials[1].detach(), atol=1e-9)
    charge = (density * areas.unsqueeze(1)).sum(0)
    np.testing.assert_allclose(charge, 0.2, rtol=1e-12)
    assert float((density[0] - density[1]).abs().min()) > 1e-4


def test_division_of_the_charge_is_differentiable(
    pemace_model: Callable[[str, str], PEMACEModel],
) -> None:
    model = pemace_model("electrons", "dipole")
    graphs = [build_graph(pt111_water(waters=3, below=b), model.config) for b in (1, 0)]
    graph = collate(graphs)
    coefficients = model.describe(graph).coefficients.detach().requires_grad_(True)
    electrons = torch.tensor([0.1, -0.05], dtype=torch.float64, requires_grad=True)

    def energy(coefficients: torch.Tensor, electrons: torch.Tensor) -> torch.Tensor:
        density = share_charge(graph, coefficients, electrons)
        return polynomial(coefficients, density).sum(0)

    assert torch.autograd.gradcheck(
        lambda c, n: share_charge(graph, c, n), (coefficients, electrons), eps=1e-7, atol=1e-6
    )
    assert torch.autograd.gradgradcheck(energy, (coefficients, electrons), eps=1e-7, atol=1e-5)


def test_metal_passes_smoothly_from_face_to_face(pemace: Callable[..., PEMACE]) -> None:
    # An atom of the middle layer goes through the middle; the water makes the faces unequal.
    calculator = pemace()
    atoms = pt111_water(waters=4, below=1, displacement=0.0)
    start = atoms.positions[4, 2]
    heights = np.linspace(-0.01, 0.01, 9)
    energies, forces = [], []
    for height in heights:
        atoms.positions[4, 2] = start + height
        energies.append(calculator.get_potential_energy(atoms))
        forces.append(calculator.get_property("forces", atoms)[4, 2])
    step = heights[1] - heights[0]
    slopes = np.diff(energies) / step
    np.testing.assert_allclose(slopes, -0.5 * (np.array(forces[1:]) + forces[:-1]), atol=2e-3)
    assert np.ptp(forces) < 1.0


def test_shares_of_the_metal() -> None:
    atoms = pt111_water((1, 1, 5), waters=1, below=1, displacement=0.0)
    config_symbols = ["Pt"]
    faces = find_faces(atoms, config_symbols)
    assert faces.inner.tolist() == [0, 1, 2, 3, 4]

    graph = build_graph(atoms, PEMACEConfig(["H", "O", "Pt"]))
    assert graph.inner is not None
    share = graph.inner.share(graph.positions, graph.normals)
    np.testing.assert_allclose(share, [0.0, 0.0, 0.5, 1.0, 1.0], atol=1e-12)
    members, face, weight = graph.memberships()
    total = torch.zeros(len(atoms), dtype=torch.float64).index_add(0, members, weight)
    np.testing.assert_allclose(total, 1.0)
    assert face[members == 6].tolist() == [0]  # the upper water's hydrogen
    assert face[members == 9].tolist() == [1]


def test_collated_faces_answer_alike(pemace_model: Callable[[str, str], PEMACEModel]) -> None:
    model = pemace_model("electrons", "dipole")
    structures = [pt111_water(waters=3, below=1), pt111_water(), pt111_water(waters=1, below=4)]
    graphs = [build_graph(atoms, model.config) for atoms in structures]
    electrons = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)
    joint = collate(graphs)
    together = model.evaluate(joint, model.describe(joint), electrons)
    for i, graph in enumerate(graphs):
        alone = model.evaluate(graph, model.describe(graph), electrons[i : i + 1])
        np.testing.assert_allclose(together[i].detach(), alone[0].detach(), rtol=1e-10)
