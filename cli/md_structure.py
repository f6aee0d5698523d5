"""The atoms a run starts from, and the momenta they start with."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from voltase.aseplugin.electrochemistry import thermal_energy
from voltase.aseplugin.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms


def read_structure(structure: str | None, model: str) -> "Atoms":
    """One structure from a file that ASE reads, or the interface that comes with a model.

    Parameters
    ----------
    structure : str or None
        A path, with ``@index`` for another frame than the last; None for the model's interface.
    model : str
        Name or folder of a checkpoint.

    Raises
    ------
    InputError
        If there is no structure, or not one.
    """
    found = _interface_of(model) if structure is None else _read(structure)
    if isinstance(found, list):
        raise InputError(
            f"STRUCTURE: {structure} are {len(found)} frames, expected one, such as @-1"
        )
    if len(found) == 0:
        raise InputError(f"STRUCTURE: {structure} has no atoms")
    if not np.isfinite(found.positions).all():
        raise InputError(f"STRUCTURE: {structure} has positions that are not finite")
    if not np.isfinite(found.get_momenta()).all():
        raise InputError(f"STRUCTURE: {structure} has momenta that are not finite")
    found.calc = None
    return found


def _interface_of(model: str) -> "Atoms":
    from voltase.aseplugin.models.checkpoint import (
        INTERFACE,
        read_interface,
        resolve_checkpoint,
    )

    if not (resolve_checkpoint(model) / INTERFACE).is_file():
        raise InputError(
            f"STRUCTURE: got none, and the model {model} comes without {INTERFACE}; "
            "expected a file with a structure"
        )
    try:
        return read_interface(model)
    except Exception as error:
        path = resolve_checkpoint(model) / INTERFACE
        raise InputError(f"--model: {path} cannot be read ({_reason(error)})") from error


def _read(structure: str) -> Any:
    from ase.io import read
    from ase.io.formats import parse_filename

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path, index = parse_filename(structure)
    if isinstance(index, str):
        raise InputError(
            f"STRUCTURE: got the frame {index!r} of {path}, expected a number such as @-1"
        )
    try:
        return read(structure)
    except FileNotFoundError:
        raise InputError(f"STRUCTURE: {structure} not found") from None
    except (StopIteration, IndexError) as error:
        if index is None:
            raise InputError(f"STRUCTURE: {structure} cannot be read, it has no frame") from error
        raise InputError(f"STRUCTURE: {path} has no frame {index}") from error
    # Readers of some eighty formats raise whatever they stumble over.
    except Exception as error:
        raise InputError(f"STRUCTURE: {structure} cannot be read ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def draw_momenta(atoms: "Atoms", temperature_K: float, rng: np.random.Generator) -> bool:
    """Give atoms at rest momenta from the Maxwell-Boltzmann distribution.

    Fixed atoms stay at rest. Without any, the centre of mass does.

    Returns
    -------
    bool
        False if the atoms moved already and were left alone.
    """
    if np.any(atoms.get_momenta()):
        return False
    widths = np.sqrt(thermal_energy(temperature_K) * atoms.get_masses())
    momenta = widths[:, np.newaxis] * rng.standard_normal((len(atoms), 3))
    if not atoms.constraints:
        masses = atoms.get_masses()
        momenta -= np.outer(masses / masses.sum(), momenta.sum(axis=0))
    # Constraints take the momenta of what they hold.
    atoms.set_momenta(momenta)
    return True
