"""Quantities of an electrode at constant potential: the one place that converts between them.

Conventions, used everywhere in this package:

- ``n`` is the number of excess electrons in the cell; n > 0 is more negative, the excess charge is
  Q = -n e.
- ``mu`` = dE/dn (eV) is the chemical potential of the electrons, ``Phi`` = -mu/e (V) the absolute
  electrode potential.
- ``U`` = Phi - Phi_zero (V) is the potential a user speaks of, against a :class:`Reference`.
- E(R, n) is the canonical energy, Omega(R, Phi) = E + Phi n the grand-canonical one (eV).
- C = -dn/dPhi > 0 is a capacitance in e/V, per cell.

Lengths are in A, areas in A^2. Functions take floats or NumPy arrays and return the same kind.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from voltase.aseplugin.errors import InputError, PotentialError

Real = TypeVar("Real", float, NDArray[np.float64])

# CODATA 2022; e and k are exact in the SI.
ELEMENTARY_CHARGE = constants.e  # C
BOLTZMANN = constants.k / constants.e  # eV/K
EPSILON_0 = constants.epsilon_0 / constants.e * 1e-10  # e/(V A)

# Absolute potential of the standard hydrogen electrode: Trasatti, Pure Appl. Chem. 58, 955 (1986),
# doi:10.1351/pac198658070955. Other works use 4.28 to 4.66 V, hence a recorded parameter.
SHE_ABSOLUTE = 4.44  # V

# Reference electrodes in saturated KCl at 298.15 K, V vs SHE: Inzelt, Lewenstam and Scholz (eds.),
# Handbook of Reference Electrodes (2013), doi:10.1007/978-3-642-36188-3.
AG_AGCL_VS_SHE = 0.197
SCE_VS_SHE = 0.241

# The widest window that is still electrochemistry: Li/Li+ is at -3.04 V, F2/F- at +2.87 V vs SHE.
PLAUSIBLE_VS_SHE = 3.1  # V, either sign
# No clean metal has a work function below about 2 eV (Cs: 2.1 eV), and none is near 8 eV.
PLAUSIBLE_ABSOLUTE = (2.0, 8.0)  # V

# uC/cm2, C/m2 and e/nm2 per e/A2.
SURFACE_CHARGE_UNITS = {
    "e/A2": 1.0,
    "e/nm2": 1e2,
    "C/m2": ELEMENTARY_CHARGE * 1e20,
    "uC/cm2": ELEMENTARY_CHARGE * 1e22,
}


def charge_from_excess_electrons(n: Real) -> Real:
    """Excess charge Q = -n in units of e."""
    return -n


def excess_electrons_from_charge(charge: Real) -> Real:
    """Excess electrons n = -Q; ``charge`` in units of e."""
    return -charge


def electrode_potential_from_mu(mu: Real) -> Real:
    """Absolute electrode potential Phi = -mu/e in V; ``mu`` = dE/dn in eV."""
    return -mu


def mu_from_electrode_potential(phi: Real) -> Real:
    """Chemical potential of the electrons mu = -e Phi in eV; ``phi`` absolute, in V."""
    return -phi


def grand_potential(energy: Real, n: Real, phi: Real) -> Real:
    """Omega = E + Phi n in eV, from the canonical energy (eV), n and the absolute Phi (V)."""
    return energy + phi * n


def canonical_energy(omega: Real, n: Real, phi: Real) -> Real:
    """E = Omega - Phi n in eV, the inverse of :func:`grand_potential`."""
    return omega - phi * n


def capacitance_to_farad(capacitance: Real) -> Real:
    """Capacitance in F, from e/V."""
    return capacitance * ELEMENTARY_CHARGE


def capacitance_from_farad(farad: Real) -> Real:
    """Capacitance in e/V, from F."""
    return farad / ELEMENTARY_CHARGE


def capacitance_to_areal(capacitance: Real, area: Real) -> Real:
    """Capacitance per area in uF/cm2, from a capacitance in e/V and an area in A^2."""
    return capacitance * SURFACE_CHARGE_UNITS["uC/cm2"] / _positive("area", area)


def capacitance_from_areal(areal: Real, area: Real) -> Real:
    """Capacitance in e/V, from uF/cm2 and an area in A^2; 1 uF/cm2 is 6.2415e-4 e/(V A^2)."""
    return areal * _positive("area", area) / SURFACE_CHARGE_UNITS["uC/cm2"]


def surface_charge_density(n: Real, area: Real, unit: str = "uC/cm2") -> Real:
    """Surface charge density sigma = -n e / A.

    Parameters
    ----------
    n : float or ndarray
        Excess electrons; n > 0 gives sigma < 0.
    area : float or ndarray
        Area they spread over, in A^2; for a slab charged on both faces, the sum of the two.
    unit : {"uC/cm2", "e/A2", "e/nm2", "C/m2"}

    Raises
    ------
    InputError
        If the area is not positive or the unit is unknown.
    """
    return -n * _per_e_per_square_angstrom(unit) / _positive("area", area)


def excess_electrons_from_surface_charge(sigma: Real, area: Real, unit: str = "uC/cm2") -> Real:
    """Excess electrons n = -sigma A / e, the inverse of :func:`surface_charge_density`."""
    return -sigma * _positive("area", area) / _per_e_per_square_angstrom(unit)


def thermal_energy(temperature_K: Real) -> Real:
    """kT in eV."""
    return BOLTZMANN * temperature_K


def thermal_voltage(temperature_K: Real) -> Real:
    """kT/e in V; 25.69 mV at 298.15 K."""
    return BOLTZMANN * temperature_K


@dataclass(frozen=True)
class Reference:
    """The zero that a user's electrode potentials count from.

    Parameters
    ----------
    name : {"SHE", "absolute", "RHE", "Ag/AgCl", "SCE"}
        :meth:`parse` accepts any case.
    she_absolute : float
        Absolute potential of the SHE in V, 4.44 by default.
    pH : float, optional
        Of the electrolyte; required for RHE, refused for every other reference.
    temperature_K : float
        Of the electrolyte; it enters the RHE only, U_RHE = U_SHE + (kT/e) ln(10) pH.
    electrode_vs_she : float, optional
        Potential of an Ag/AgCl or calomel electrode in V vs SHE; by default that of saturated
        KCl at 298.15 K, 0.197 and 0.241 V. Refused for every other reference.

    Raises
    ------
    InputError
        If the name is unknown, or a number is missing, out of place or unphysical.

    Examples
    --------
    >>> round(Reference.parse("rhe", pH=7).to_absolute(-0.5), 3)
    3.526
    """

    name: str = "SHE"
    she_absolute: float = SHE_ABSOLUTE
    pH: float | None = None
    temperature_K: float = 298.15
    electrode_vs_she: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _REFERENCE_NAMES.values():
            raise InputError(f"reference: got {self.name!r}, expected one of {_NAMES_TEXT}")
        for key in ("she_absolute", "temperature_K", "pH", "electrode_vs_she"):
            self._check_number(key)
        if self.she_absolute <= 0:
            raise InputError(f"she_absolute: got {self.she_absolute} V, expected about 4.44 V")
        if self.temperature_K <= 0:
            raise InputError(f"temperature_K: got {self.temperature_K} K, expected more than 0 K")
        if (self.pH is None) == (self.name == "RHE"):
            if self.pH is None:
                raise InputError("pH: got none with reference RHE, expected the electrolyte's")
            raise InputError(
                f"pH: got pH={self.pH} with reference {self.name}, it goes with RHE only"
            )
        if self.pH is not None and not -2 <= self.pH <= 16:
            raise InputError(f"pH: got {self.pH}, expected -2 to 16")
        electrode = _ELECTRODES_VS_SHE.get(self.name)
        if electrode is None and self.electrode_vs_she is not None:
            raise InputError(
                f"electrode_vs_she: got {self.electrode_vs_she} V with reference {self.name}, "
                "it goes with Ag/AgCl or SCE only"
            )
        if self.electrode_vs_she is None and electrode is not None:
            object.__setattr__(self, "electrode_vs_she", electrode)

    def _check_number(self, key: str) -> None:
        value = getattr(self, key)
        if value is None and key in ("pH", "electrode_vs_she"):
            return
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise InputError(f"{key}: got {value!r}, expected a number")
        if not math.isfinite(value):
            raise InputError(f"{key}: got {value}, expected a finite number")
        # Plain floats, so that equality, hashing and JSON do not depend on the caller's type.
        object.__setattr__(self, key, float(value))

    @classmethod
    def parse(cls, reference: "str | Reference", **options: Any) -> "Reference":
        """Reference from a name in any case, with the class's other parameters as options.

        A :class:`Reference` passes through, if no options come with it; options that are None
        count as not given.

        Raises
        ------
        InputError
            If the name or an option is unknown or unusable.
        """
        given = {key: value for key, value in options.items() if value is not None}
        unknown = sorted(set(given) - {field.name for field in fields(cls)} | {"name"} & set(given))
        if unknown:
            raise InputError(f"reference: got unknown option {unknown[0]!r}")
        if isinstance(reference, Reference):
            if given:
                raise InputError(f"reference: got a Reference and also {', '.join(sorted(given))}")
            return reference
        key = re.sub(r"[\s_/-]", "", reference.casefold()) if isinstance(reference, str) else ""
        if key not in _REFERENCE_NAMES:
            raise InputError(f"reference: got {reference!r}, expected one of {_NAMES_TEXT}")
        return cls(_REFERENCE_NAMES[key], **given)

    @property
    def zero_absolute(self) -> float:
        """Absolute potential of this reference's zero in V, so that Phi = U + zero_absolute."""
        if self.name == "absolute":
            return 0.0
        if self.pH is not None:
            return self.she_absolute - thermal_voltage(self.temperature_K) * math.log(10) * self.pH
        return self.she_absolute + (self.electrode_vs_she or 0.0)

    @property
    def label(self) -> str:
        """Unit and reference for axes and log headers, such as ``V vs SHE``."""
        if self.name == "absolute":
            return "V (absolute)"
        if self.pH is not None:
            return f"V vs RHE (pH {self.pH:g})"
        return f"V vs {self.name}"

    def to_absolute(self, potential: Real) -> Real:
        """Absolute potential Phi in V, from U in V vs this reference."""
        return potential + self.zero_absolute

    def from_absolute(self, phi: Real) -> Real:
        """U in V vs this reference, from the absolute potential Phi in V."""
        return phi - self.zero_absolute

    def as_dict(self) -> dict[str, str | float]:
        """Plain values for JSON and YAML; what does not apply is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Reference":
        """The inverse of :meth:`as_dict`.

        Raises
        ------
        InputError
            If the name is missing, a key is unknown or a value is unusable.
        """
        if "name" not in values:
            raise InputError("reference: got no name, expected a mapping with the key 'name'")
        return cls.parse(values["name"], **{k: v for k, v in values.items() if k != "name"})


_REFERENCE_NAMES = {
    "she": "SHE",
    "absolute": "absolute",
    "rhe": "RHE",
    "agagcl": "Ag/AgCl",
    "sce": "SCE",
}
_NAMES_TEXT = ", ".join(_REFERENCE_NAMES.values())
_ELECTRODES_VS_SHE = {"Ag/AgCl": AG_AGCL_VS_SHE, "SCE": SCE_VS_SHE}

# ASCII digits only; the sign may be the Unicode minus, as copied from a paper. "MV" is megavolts.
_SIGN = "[+\N{MINUS SIGN}-]?"
_POTENTIAL = re.compile(
    rf"\s*({_SIGN}(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]{_SIGN}[0-9]+)?)\s*(mV|mv|V|v)?\s*"
)
_REFERENCE_SUFFIX = re.compile(r"\bvs\b|SHE|RHE|SCE|AgCl|\babs", re.IGNORECASE)
_VOLTS = {"V": 1.0, "v": 1.0, "mV": 1e-3, "mv": 1e-3}


def parse_potential(value: object, unit: str = "V") -> float:
    """Potential in V, from a number or a text such as ``-0.5V``, ``250 mV`` or ``-0.5``.

    Parameters
    ----------
    value : str, float or int
        NumPy scalars count as numbers. The sign of a text may be the Unicode minus (U+2212).
    unit : {"V", "mV"}
        Unit of a bare number.

    Raises
    ------
    PotentialError
        For anything else: no number, not finite, a bool, another unit, a reference in the text.

    Examples
    --------
    >>> parse_potential("-500 mV")
    -0.5
    """
    if unit not in _VOLTS:
        raise InputError(f"unit: got {unit!r}, expected 'V' or 'mV'")
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    number: str | float
    if isinstance(value, str):
        number, unit = _split_potential(value, unit)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        shown = " ".join(repr(value).split())
        raise PotentialError(f"potential: got {shown}, {_EXPECTED_POTENTIAL}")
    try:
        volts = float(number) * _VOLTS[unit]
    except OverflowError:
        volts = math.inf
    if not math.isfinite(volts):
        raise PotentialError(f"potential: got {number}, expected a finite number")
    return volts


_EXPECTED_POTENTIAL = "expected a number with V, mV or no unit (= V), such as -0.5V"


def _split_potential(text: str, unit: str) -> tuple[str, str]:
    """Number, as ``float`` reads it, and unit of a potential given as text."""
    match = _POTENTIAL.fullmatch(text)
    if match:
        return match[1].replace("\N{MINUS SIGN}", "-"), match[2] or unit
    if _REFERENCE_SUFFIX.search(text):
        raise PotentialError(
            f"potential: got {text!r}, expected the number alone, such as -0.5V; "
            "give its reference as --reference (reference= in Python)"
        )
    raise PotentialError(f"potential: got {text!r}, {_EXPECTED_POTENTIAL}")


def check_plausible(potential: float | NDArray[np.float64], reference: Reference) -> None:
    """Refuse a potential that only a mistaken reference or unit explains.

    Parameters
    ----------
    potential : float or ndarray
        In V vs ``reference``; every element has to pass.
    reference : Reference

    Raises
    ------
    PotentialError
        Outside +-3.1 V vs SHE, or below 2 V on the absolute scale. The message says what was
        probably meant.
    """
    for value in np.ravel(potential):
        vs_she = reference.to_absolute(value) - reference.she_absolute
        lowest, highest = PLAUSIBLE_ABSOLUTE
        absolute = reference.name == "absolute"
        if abs(vs_she) <= PLAUSIBLE_VS_SHE and not (absolute and value < lowest):
            continue
        hint = ""
        if absolute and abs(value) < PLAUSIBLE_VS_SHE:
            hint = "; did you mean reference='SHE'?"
        elif not absolute and lowest <= value <= highest:
            hint = "; did you mean reference='absolute'?"
        elif 100 <= abs(value) <= 1e3 * highest:
            hint = f"; did you mean {value:g} mV?"
        expected = f"{lowest:g} V or more and " if absolute else ""
        raise PotentialError(
            f"potential: got {value:g} {reference.label}, expected {expected}"
            f"within {PLAUSIBLE_VS_SHE} V of the SHE{hint}"
        )


def _positive(name: str, value: Real) -> Real:
    if not np.all(np.asarray(value) > 0):
        raise InputError(f"{name}: got {value}, expected more than 0")
    return value


def _per_e_per_square_angstrom(unit: str) -> float:
    if unit not in SURFACE_CHARGE_UNITS:
        expected = ", ".join(SURFACE_CHARGE_UNITS)
        raise InputError(f"unit: got {unit!r}, expected one of {expected}")
    return SURFACE_CHARGE_UNITS[unit]
