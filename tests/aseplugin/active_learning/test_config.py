"""Settings that cannot be meant."""

import pytest

from voltase.aseplugin.active_learning.config import (
    LabellingConfig,
    LoopConfig,
    SamplingConfig,
    SelectionConfig,
    StopConfig,
)
from voltase.aseplugin.errors import InputError
from voltase.aseplugin.training.config import DataConfig


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelectionConfig(lower=0.5, upper=0.1), "upper: found 0.1, expected more than low"),
        (lambda: SelectionConfig(per_round=0), "per_round: found 0"),
        (lambda: SamplingConfig([]), "potentials: found none"),
        (lambda: SamplingConfig([0.0, "fast"]), "fast"),
        (lambda: SamplingConfig([4.4]), "4.4"),
        (lambda: SamplingConfig([0.0], steps=5, every=6), "every: found 6"),
        (lambda: LabellingConfig(offsets=[0.1, 0.0]), "offsets"),
        (lambda: LabellingConfig(config_type="two words"), "config_type"),
        (lambda: StopConfig(force_rmse_meV_A=-1.0), "force_rmse_meV_A: found -1.0"),
        (lambda: LoopConfig(init=""), "init: found none"),
        (lambda: LoopConfig(init="m"), "held_out: found no files"),
        (lambda: LoopConfig("m", data=DataConfig(["f"], energy_kind="grand")), "data.energy_kind"),
    ],
)
def test_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]


def test_every_target_has_to_be_reached() -> None:
    errors = {"force_rmse_meV_A": 40.0, "potential_mae_V": 0.2}
    assert not StopConfig().reached(errors)
    assert StopConfig(force_rmse_meV_A=50.0).reached(errors)
    assert not StopConfig(force_rmse_meV_A=50.0, potential_mae_V=0.1).reached(errors)
    assert not StopConfig(potential_mae_V=0.1).reached({})
