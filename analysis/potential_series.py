"""What changes at an interface with the electrode potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voltase.analysis.blocks import Estimate, estimate_mean, estimate_ratio
from voltase.analysis.density import DensityProfile
from voltase.analysis.dipole import NetDipole
from voltase.analysis.drawing import draw_legend
from voltase.analysis.histograms import histograms_of
from voltase.analysis.orientation import DEFAULT_LAYERS, POPULATIONS, WaterOrientation
from voltase.analysis.together import Together
from voltase.aseplugin.electrochemistry import Reference
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class PotentialSeries:
    """Structure of the interface against the electrode potential, from runs at several of them.

    Parameters
    ----------
    reference : str or Reference
        Of the potentials U that are given and shown: ``absolute``, ``SHE``, ...
    contact : float
        Distance in A from the surface up to which oxygen counts as in contact.

    Attributes
    ----------
    rows : list of dict
        One for each run: what `tables` shows.
    """

    def __init__(self, reference: str | Reference = "absolute", contact: float = 4.5) -> None:
        if not 0.0 < contact < 100.0:
            raise InputError(f"contact: found {contact:g}, expected a distance in A")
        self.reference, self.contact = Reference.parse(reference), contact
        self.rows: list[dict[str, Any]] = []

    def run(self, label: str, source: Any, *, potential: float | None = None,
            charges: Mapping[str, float] | None = None,
            layers: Sequence[float] = DEFAULT_LAYERS, interface: Any = None,
            electrode: str | None = None, **options: Any) -> None:  # fmt: skip
        """Analyse a trajectory in one pass and add it.

        Parameters
        ----------
        label : str
        source : Universe or AtomGroup
        potential : float, optional
            See `add`.
        charges : dict, optional
            Of `NetDipole`.
        layers : sequence of float
            Of `WaterOrientation`, outer ends in A; the same for all runs, or columns are missing.
        interface, electrode
            See `InterfaceAnalysis`.
        **options
            Those of a run, such as ``start``.
        """
        given = {"interface": interface, "electrode": electrode}
        dipole = NetDipole(source, charges=charges, **given)
        orientation = WaterOrientation(source, layers=layers, **given)
        density = DensityProfile(source, **given)
        Together([dipole, orientation, density]).run(**options)
        self.add(label, dipole=dipole, orientation=orientation, density=density,
                 potential=potential)  # fmt: skip

    def add(self, label: str, *, dipole: NetDipole | None = None,
            orientation: WaterOrientation | None = None, density: DensityProfile | None = None,
            potential: float | None = None) -> None:  # fmt: skip
        """Add finished analyses of one run.

        Parameters
        ----------
        label : str
        dipole, orientation, density : InterfaceAnalysis, optional
            What is left out is not a number in the tables.
        potential : float, optional
            U in V against the reference; by default the mean of the trajectory's, which `dipole`
            has found.

        Raises
        ------
        InputError
            If there is no potential, the label is taken or an analysis has not been run.
        """
        if any(row["label"] == label for row in self.rows):
            raise InputError(f"label: found '{label}' twice, expected one for each run")
        given = [a for a in (dipole, orientation, density) if a is not None]
        if not given or any("correlation_times" not in a.results for a in given):
            raise InputError("analyses: found none or one that has not been run")
        row: dict[str, Any] = {"label": label}
        if potential is not None:
            row["U_V"], row["U_V_err"] = float(potential), 0.0
        elif dipole is not None and "phi" in dipole.results:
            row["U_V"] = float(self.reference.from_absolute(dipole.results.phi))
            row["U_V_err"] = dipole.results.phi_err
        else:
            raise InputError("potential: found none in the trajectory, expected one in V")
        if dipole is not None:
            row.update(_dipole_row(dipole))
        if density is not None:
            row.update(self._density_row(density))
        if orientation is not None:
            row.update(_orientation_row(orientation))
        self.rows = sorted([*self.rows, row], key=lambda one: float(one["U_V"]))

    def _density_row(self, density: DensityProfile) -> dict[str, float]:
        if "O" not in density.symbols or "both" not in density.results.faces:
            raise InputError("density: found no oxygen at a wet face, expected some")
        found = histograms_of(density)["rho_O_both"]
        x = found.middles
        near = (x > 0.0) & (x < self.contact)
        inside = estimate_mean(found.numerator[:, near].sum(axis=1) * found.width, found.lengths)
        rho, error = density.results.faces["both"]["O"], density.results.faces_err["both"]["O"]
        peak = int(np.argmax(np.where(near, rho, -1.0)))
        return {**_pair("contact_O_per_A2", inside), "peak_O_per_A3": float(rho[peak]),
                "peak_O_per_A3_err": float(error[peak]), "peak_O_at_A": float(x[peak])}  # fmt: skip

    def tables(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """Columns of ``potential_series``, a row for each run, ascending in U.

        ``H_down_<layer>`` is the share of the molecules of a layer with one or two O-H bonds that
        point to the electrode, ``waters_<layer>_per_A2`` their number over the area of a face.
        """
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        return {"potential_series": {
            name: np.array([row.get(name, float("nan")) for row in self.rows]) for name in columns
        }}  # fmt: skip

    def draw(self, figure: Figure) -> None:
        """Density in contact, water with H down, dipole and surface charge against U."""
        table = self.tables()["potential_series"]
        layers = [name for name in table if name.startswith("H_down") and "_err" not in name]
        panels = [
            (["contact_O_per_A2"], f"O within {self.contact:g} Å (1/Å$^2$)"),
            (layers, "share with H down"),
            (["dipole_e_per_A"], "water dipole\noutwards (e/Å)"),
            (["sigma_uC_per_cm2"], r"$\sigma$ ($\mu$C/cm$^2$)"),
        ]
        panels = [(names, label) for names, label in panels if names and names[0] in table]
        if not panels:
            raise InputError("runs: found none, expected one or more before drawing")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (names, label) in zip(axes, panels, strict=True):
            for name in names:
                error, across = (np.nan_to_num(table[f"{k}_err"]) for k in (name, "U_V"))
                shown = name.removeprefix("H_down_").replace("_", " ")
                ax.errorbar(table["U_V"], table[name], yerr=error, xerr=across, fmt="o-", ms=4,
                            capsize=2, label=shown)  # fmt: skip
            ax.set(ylabel=label)
            if len(names) > 1:
                draw_legend(ax, fontsize="small")
        axes[-1].set_xlabel(f"U ({self.reference.label})")


def _dipole_row(dipole: NetDipole) -> dict[str, float]:
    r = dipole.results
    row = {"dipole_e_per_A": r.dipole["both"], "dipole_e_per_A_err": r.dipole_err["both"],
           "drop_V": r.drop["both"], "drop_V_err": r.drop_err["both"]}  # fmt: skip
    if "n" in r:
        row.update({"excess_electrons": r.n, "excess_electrons_err": r.n_err,
                    "sigma_uC_per_cm2": r.sigma, "sigma_uC_per_cm2_err": r.sigma_err})  # fmt: skip
    return row


def _orientation_row(orientation: WaterOrientation) -> dict[str, float]:
    row: dict[str, float] = {}
    names = [face for face in orientation.results.faces if face != "both"]
    kinds = np.sum([orientation.sums(f"{face} kinds") for face in names], axis=0)
    area = len(names) * orientation.sums("area")
    down = kinds[:, :, [POPULATIONS.index("two_H_down"), POPULATIONS.index("one_H_down")]]
    for layer, (low, high) in enumerate(orientation.results.layers):
        total, name = kinds[:, layer].sum(axis=1), f"{low:g}_to_{high:g}_A"
        row.update(_pair(f"waters_{name}_per_A2", estimate_ratio(total, area, orientation.lengths)))
        share = estimate_ratio(down[:, layer].sum(axis=1), total, orientation.lengths)
        row.update(_pair(f"H_down_{name}", share))
    return row


def _pair(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: float(estimate.mean), f"{name}_err": float(estimate.error)}
