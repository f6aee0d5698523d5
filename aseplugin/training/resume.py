"""Whether a training may go on from a state: the settings it was made with must be the same."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from voltase.aseplugin.errors import CheckpointError

LOG = logging.getLogger(__name__)


def compare_configurations(folder: Path, saved: dict[str, Any] | None, wanted: dict[str, Any]
                           ) -> None:  # fmt: skip
    """Refuse a state of another configuration; the number of epochs may differ.

    Parameters
    ----------
    folder : Path
        Where the state is, for messages.
    saved, wanted : dict
        Settings by section; None if the state has none.

    Raises
    ------
    CheckpointError
        If a setting differs.
    """
    if saved is None:
        LOG.warning("%s: the state does not say of which configuration it is", folder)
        return
    before, now = _flat(saved), _flat(json.loads(json.dumps(wanted)))
    epochs = "training.epochs"
    if before.get(epochs) != now.get(epochs):
        LOG.warning("epochs: the state was made for %s, now %s: the learning rate's schedule "
                    "changes", before.get(epochs), now.get(epochs))  # fmt: skip
        before[epochs] = now.get(epochs)
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    if changed:
        name = changed[0]
        more = f" ({len(changed) - 1} more differ)" if len(changed) > 1 else ""
        raise CheckpointError(
            f"restart: the state in {folder} has {name} = {before.get(name)}, expected "
            f"{now.get(name)}{more}; choose another --out, or --no-restart to start afresh"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            out.update(_flat(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out
