"""Train the four ways to tell the network of the electrode on equal terms, and compare them.

Usage: python recipes/compare_embeddings.py [--start pt111-water] [--out runs/embeddings]
       [--epochs 3] [--processes 2]

Embedding (electrons, potential) times coupling (dipole, scalar). All start from the feature network
and the energies of one model, with an electrode that knows nothing, and see the charged frames of
../shared/data alone. Prints the held-out errors as JSON and as a table; an interrupted comparison
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from voltase.aseplugin.models.checkpoint import load_checkpoint, read_card, save_checkpoint
from voltase.aseplugin.models.pemace import PEMACEModel

DATA = Path("../shared/data")
FORMS = [(embedding, coupling) for embedding in ("electrons", "potential")
         for coupling in ("dipole", "scalar")]  # fmt: skip
RECIPE = Path(__file__).with_name("pt111-water-field.yaml")


def forget_electrode(name: str, folder: Path) -> Path:
    """Checkpoint of a model whose electrode has its first weights."""
    if not folder.is_dir():
        model, card = load_checkpoint(name)
        torch.manual_seed(0)
        model.electrode.load_state_dict(PEMACEModel(model.config).electrode.state_dict())
        save_checkpoint(folder, model, {"name": f"{name} without its electrode",
                                        "default_domain": card.get("default_domain")})  # fmt: skip
    return folder


def settings(embedding: str, coupling: str, start: Path, epochs: int) -> dict[str, Any]:
    """Settings of one training: those of the bundled model's second stage, on charged frames."""
    recipe = yaml.safe_load(RECIPE.read_text())
    files = [DATA / "pt111_water/biased.extxyz.gz", DATA / "pt111_sjm/labels.extxyz.gz"]
    recipe["data"]["files"] = list(map(str, files))
    recipe["model"].update(embedding=embedding, coupling=coupling)
    recipe["data"]["weights"] = {"sjm": 6, "field": 1}
    recipe["training"].update(epochs=epochs, evaluate_every=epochs)
    recipe["card"] = {"name": f"{embedding}-{coupling}", "source": "see pt111-water"}
    return {**recipe, "init": str(start)}


def train(config: dict[str, Any], folder: Path, processes: int) -> dict[str, Any]:
    """Errors on the held-out snapshots, by config type."""
    model = folder / "model"
    if not model.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = folder.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node",
                   str(processes), "-m", "voltase.cli.train", "mace", str(path),
                   "--out", str(folder)]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr,
                       env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    errors: dict[str, Any] = read_card(model)["errors"]["test"]
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", default="pt111-water")
    parser.add_argument("--out", type=Path, default=Path("runs/embeddings"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    start = forget_electrode(args.start, args.out / "start")
    results = {}
    for embedding, coupling in FORMS:
        name = f"{embedding}-{coupling}"
        config = settings(embedding, coupling, start, args.epochs)
        results[name] = train(config, args.out / name, args.processes)
    json.dump(results, sys.stdout, indent=2)
    sys.stdout.write("\n\n| embedding-coupling | frames | forces (meV/A) | Phi (V) | response |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- |\n")
    for name, errors in results.items():
        for kind, found in errors.items():
            sys.stdout.write(
                f"| {name} | {kind} | {found['force_rmse_meV_A']:.0f} | "
                f"{found['potential_mae_V']:.3f} | {found['response_error']:.2f} |\n"
            )


if __name__ == "__main__":
    main()
