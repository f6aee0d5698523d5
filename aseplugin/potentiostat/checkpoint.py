"""The state of a run on disk: one safetensors file, replaced as a whole.

Arrays are its tensors; everything else is JSON in its metadata, with a digest of both, so that no
altered number is taken for the run's own. Nothing in it is executed, and equal states make equal
files.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io.jsonio import decode, encode
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from voltase.aseplugin.errors import CheckpointError

FORMAT = "voltase-md-checkpoint"
# 2: with a digest; files of version 1 are refused.
VERSION = 2

_HEADER = "voltase"
_TENSOR = "__tensor__"
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a tree of dicts, lists, scalars, texts and arrays; the file appears when complete.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    tensors: dict[str, NDArray[Any]] = {}
    tree = _take_arrays(state, "", tensors)
    # One entry: several would come in a random order, and equal states in unequal files.
    header = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": _digest(tree, tensors),
        "state": tree,
    }
    try:
        _replace(path, save(tensors, {_HEADER: json.dumps(header)}))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The inverse of :func:`write_checkpoint`.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, altered, or of another format or version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: not found, expected a checkpoint of a run")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = json.loads(metadata.get(_HEADER, "{}"))
    # The last three: a damaged type of a tensor, and a damaged or too deep JSON.
    except (SafetensorError, OSError, AttributeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error}") from error
    found = header.get("format") if isinstance(header, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{path}: got {found or 'another kind of file'}, expected {FORMAT}")
    if header.get("version") != VERSION:
        raise CheckpointError(f"{path}: got version {header.get('version')}, expected {VERSION}")
    if header.get("sha256") != _digest(header.get("state"), tensors):
        raise CheckpointError(
            f"{path}: got altered contents, expected those that its sha256 was taken of"
        )
    state: dict[str, Any] = _put_arrays(header["state"], tensors)
    return state


def _digest(tree: Any, tensors: dict[str, NDArray[Any]]) -> str:
    """Of every value, name, type and shape."""
    digest = hashlib.sha256(json.dumps(tree).encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"\n{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _take_arrays(node: Any, name: str, tensors: dict[str, NDArray[Any]]) -> Any:
    if isinstance(node, np.generic):
        return node.item()
    if isinstance(node, np.ndarray):
        tensors[name] = np.ascontiguousarray(node).reshape(node.shape)
        return {_TENSOR: name}
    if isinstance(node, dict):
        return {key: _take_arrays(value, f"{name}/{key}", tensors) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_take_arrays(value, f"{name}/{i}", tensors) for i, value in enumerate(node)]
    return node


def _put_arrays(node: Any, tensors: dict[str, NDArray[Any]]) -> Any:
    if isinstance(node, dict):
        if _TENSOR in node:
            return tensors[node[_TENSOR]]
        return {key: _put_arrays(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_put_arrays(value, tensors) for value in node]
    return node


def _replace(path: Path, content: bytes) -> None:
    """Write a file beside its final place, make it durable, then rename it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def pack_atoms(atoms: Atoms) -> dict[str, Any]:
    """Atoms as a tree for :func:`write_checkpoint`; constraints are FixAtoms only."""
    return {
        "arrays": {name: values.copy() for name, values in atoms.arrays.items()},
        "cell": atoms.cell.array.copy(),
        "pbc": atoms.pbc.copy(),
        "celldisp": atoms.get_celldisp(),
        "fixed": [np.array(constraint.index, dtype=np.int64) for constraint in atoms.constraints],
        "info": encode(encodable_info(atoms)),
    }


def encodable_info(atoms: Atoms) -> dict[str, Any]:
    """The entries of ``atoms.info`` that have a JSON form; ASE writes no others either."""
    kept = {}
    for key, value in atoms.info.items():
        try:
            encode({key: value})
        except TypeError:
            continue
        kept[key] = value
    return kept


def unpack_atoms(state: dict[str, Any]) -> Atoms:
    """The inverse of :func:`pack_atoms`."""
    arrays = state["arrays"]
    atoms = Atoms(
        numbers=arrays["numbers"],
        positions=arrays["positions"],
        cell=state["cell"],
        pbc=state["pbc"],
        celldisp=state["celldisp"],
        info=decode(state["info"]),
        constraint=[FixAtoms(indices=index) for index in state["fixed"]],
    )
    for name, values in arrays.items():
        atoms.arrays[name] = values.copy()
    return atoms


def pack_rng(rng: np.random.Generator) -> dict[str, Any]:
    """State of a random generator as a tree for :func:`write_checkpoint`."""
    return dict(rng.bit_generator.state)


def unpack_rng(state: dict[str, Any]) -> np.random.Generator:
    """The inverse of :func:`pack_rng`.

    Raises
    ------
    CheckpointError
        If the bit generator is not one of NumPy's.
    """
    name = state.get("bit_generator")
    if name not in _BIT_GENERATORS:
        expected = ", ".join(_BIT_GENERATORS)
        raise CheckpointError(f"bit_generator: got {name!r}, expected one of {expected}")
    bit_generator = getattr(np.random, name)()
    bit_generator.state = state
    return np.random.Generator(bit_generator)
