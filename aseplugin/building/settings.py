"""What an interface is made of, beside its crystal and its facet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from voltase.aseplugin.building.terminations import LARGEST_LAYERS
from voltase.aseplugin.errors import InputError

DEFAULT_VACUUM = 12.0
SMALLEST_VACUUM = 4.0
"""In A; below it the faces of neighbouring images touch."""
_PLACES = ("top", "both", "between")


@dataclass(frozen=True)
class InterfaceSettings:
    """What an interface is made of, beside the crystal and the facet.

    Attributes
    ----------
    a, c : float or None
        Lattice constants of the conventional cell in A; the crystal's own by default.
    layers : int
        Of the slab, see `planes.Stacking`: planes of atoms in fcc and bcc metals, trilayers
        O-M2O2-O in rutile(110).
    supercell : str or sequence
        See `supercell.parse_supercell`.
    termination : int, str or None
        Index or name of the upper face, see `list_terminations`; the first by default. The lower
        face is the same where the crystal has a slab with two equal faces.
    whole_layers : bool
        Take whole layers, whatever ends the slab below.
    water_on : {"top", "both", "between"}
        Above the slab; on both faces, the lower film the image of the upper one under a symmetry
        operation of the slab; or between the faces of a cell that is periodic in 3D.
    thickness : float or None
        In A, of each film; rounded to a whole number of molecules. Without `thickness` and
        `waters` there is no water.
    waters : int or None
        Molecules in each film, ions not counted.
    density : float or None
        Of the water in g/cm^3, 0.997 by default.
    ions : str, mapping or None
        In each film: ``Na+:1,ClO4-:1`` or names and numbers; neutral molecules do, too. Each takes
        the room of one water for two heavy atoms, at least one.
    adsorb : str, sequence of str or None
        On the upper face, with water on both on both: ``OH@top:2``.
    gap : float
        In A, from the outermost atoms of the slab to the region that the water fills.
    vacuum : float or None
        In A, between the outermost atoms of neighbouring images; 12 by default, none with water
        between the faces.
    fix : int or None
        Layers that FixAtoms holds: the lowest, with water on both faces the middle ones. By default
        half of them.
    sweeps : int
        Attempts to move each molecule.
    seed : int
    """

    a: float | None = None
    c: float | None = None
    layers: int = 4
    supercell: str | Sequence[int] | Sequence[Sequence[int]] = "1x1"
    termination: int | str | None = None
    whole_layers: bool = False
    water_on: Literal["top", "both", "between"] = "top"
    thickness: float | None = None
    waters: int | None = None
    density: float | None = None
    ions: str | Mapping[str, int] | None = None
    adsorb: str | Sequence[str] | None = None
    gap: float = 2.3
    vacuum: float | None = None
    fix: int | None = None
    sweeps: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("thickness", "density", "gap", "vacuum", "a", "c"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                raise InputError(f"{name}: got {value}, expected a finite number")
        if self.water_on not in _PLACES:
            raise InputError(f"water_on: got {self.water_on!r}, expected one of "
                             f"{', '.join(_PLACES)}")  # fmt: skip
        if not 1.0 <= self.gap <= 20.0:
            raise InputError(f"gap: got {self.gap} A, expected 1 to 20 A")
        if self.vacuum is not None and self.water_on == "between":
            raise InputError(f"vacuum: got {self.vacuum} A with water between the faces, expected "
                             "none")  # fmt: skip
        if self.vacuum is not None and not SMALLEST_VACUUM <= self.vacuum <= 1000.0:
            raise InputError(f"vacuum: got {self.vacuum} A, expected {SMALLEST_VACUUM:g} to 1000 A")
        if self.seed < 0:
            raise InputError(f"seed: got {self.seed}, expected 0 or more")
        if not 1 <= self.layers <= LARGEST_LAYERS:
            raise InputError(f"layers: got {self.layers}, expected 1 to {LARGEST_LAYERS}")
        fix, layers = self.fixed_layers, self.layers
        if not 0 <= fix <= layers:
            raise InputError(f"fix: got {fix}, expected 0 to {layers}, the number of layers")
        if self.water_on != "top" and fix and (layers - fix) % 2:
            kind = "an odd" if layers % 2 else "an even"
            raise InputError(f"fix: got {fix} of {layers} layers with water on both faces, "
                             f"expected {kind} number")  # fmt: skip

    @property
    def fixed_layers(self) -> int:
        """Layers that are held."""
        if self.fix is not None:
            return self.fix
        half = self.layers // 2
        return half if self.water_on == "top" else max(half - (self.layers - half) % 2, 0)

    @property
    def empty_height(self) -> float:
        """Vacuum in A."""
        if self.water_on == "between":
            return 0.0
        return DEFAULT_VACUUM if self.vacuum is None else self.vacuum
