"""The frames that no model of a loop is trained on, and the errors on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from voltase.aseplugin.active_learning.files import read_record, write_record
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.checkpoint import load_checkpoint
from voltase.aseplugin.models.pemace import PEMACEConfig
from voltase.aseplugin.training.config import DataConfig
from voltase.aseplugin.training.dataset import EarlierSplit, Sample, group_samples, split_samples
from voltase.aseplugin.training.frames import read_frames
from voltase.aseplugin.training.metrics import Evaluation, evaluate_sample

ALL = "all"
Errors = dict[str, dict[str, float]]


class HeldOut:
    """A split that stays what it was, whatever frames come in addition.

    Parameters
    ----------
    data : DataConfig
        Of the frames labelled before.
    files : sequence of str
        With held-out frames; without any, ``data`` decides.

    Attributes
    ----------
    split : EarlierSplit
        After `fix`.
    """

    def __init__(self, data: DataConfig, files: Sequence[str]) -> None:
        self.data = data
        self.files = list(files)
        self.split = EarlierSplit(frozenset(), frozenset(), frozenset())

    def with_labels(self, files: Sequence[str] = ()) -> DataConfig:
        """Settings that read all frames: those held out, those labelled before, and further ones.

        The held-out files come first: a frame of another file that shares a geometry with one of
        theirs takes its name, and is held out too.
        """
        return replace(self.data, files=[*self.files, *self.data.files, *files],
                       test_fraction=0.0, valid_fraction=0.0)  # fmt: skip

    def fix(self, path: Path, model: PEMACEConfig, card: dict[str, Any], label_type: str) -> None:
        """Decide what is held out, or take up what a file says.

        Parameters
        ----------
        path : Path
            The file; written if it is not there.
        model : PEMACEConfig
            Of the model that the loop starts from.
        card : dict
            Its card: what its training held out is held out here too, without files of held-out
            frames.
        label_type : str
            Config type of the frames to come, none of which is held out.

        Raises
        ------
        InputError
            If nothing is held out.
        """
        record = read_record(path)
        if record is None:
            record = self._decide(model, card, label_type)
            write_record(path, record)
        self.split = EarlierSplit(**{name: frozenset(names) for name, names in record.items()})

    def _decide(self, model: PEMACEConfig, card: dict[str, Any], label_type: str
                ) -> dict[str, list[str]]:  # fmt: skip
        everything = read_frames(self.with_labels())
        samples = group_samples(everything, self.data, model)
        if self.files:
            known = read_frames(replace(self.data, files=self.files))
            test = {frame.snapshot for frame in known}
            rest = [sample for sample in samples if sample.snapshot not in test]
            if self.data.files and not rest:
                raise InputError("data.files: found held-out frames alone, expected others too")
            settings = replace(self.data, test_fraction=0.0)
            valid = _names(split_samples(rest, settings).valid) if rest else set()
        else:
            split = split_samples(samples, self.data, EarlierSplit.of_card(card))
            test, valid = _names(split.test), _names(split.valid)
        if not test:
            raise InputError(
                f"held_out: found no files, and data.test_fraction = {self.data.test_fraction:g} "
                f"holds out none of {len(samples)} geometries; expected frames to judge by"
            )
        kinds = {frame.config_type for frame in everything} | {label_type}
        return {"config_types": sorted(kinds), "test": sorted(test), "valid": sorted(valid)}

    def samples(self, model: PEMACEConfig) -> list[Sample]:
        """The held-out frames as a model reads them."""
        samples = group_samples(read_frames(self.with_labels()), self.data, model)
        return [sample for sample in samples if self.split.use_of(sample.snapshot) == "test"]

    def errors(self, model: str | Path, device: str,
               report: Callable[[int, int], None]) -> Errors:  # fmt: skip
        """Errors of a checkpoint by config type, and under "all" of all frames together.

        Parameters
        ----------
        model : str or Path
        device : str
        report : callable
            Gets the number of geometries done and all; may raise to stop.
        """
        network = load_checkpoint(model)[0].to(device)
        samples = self.samples(network.config)
        found = []
        for number, sample in enumerate(samples):
            found.append(evaluate_sample(network, sample))
            report(number + 1, len(samples))
        together = [replace(each, config_type=ALL) for each in found]
        symbols = network.config.symbols
        return Evaluation(symbols, together).summary() | Evaluation(symbols, found).summary()


def settings_of(data: DataConfig) -> dict[str, Any]:
    """All settings but the files, in plain types."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(data)))
    del plain["files"]
    return plain


def _names(samples: Sequence[Sample]) -> set[str]:
    return {sample.snapshot for sample in samples}
