"""Settings of the feature networks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from voltase.aseplugin.errors import InputError
from voltase.aseplugin.models.backbone import BackboneConfig

Kind = Literal["mace", "hipnn"]
Order = Literal["scalar", "vector", "quadrupole"]


@dataclass
class HIPNNConfig:
    """Shape of a HIP-NN network.

    Attributes
    ----------
    r_max : float
        Cut-off in A.
    soft_min, soft_max : float
        Midpoints in A of the first and the last sensitivity function.
    num_sensitivities, channels, num_atom_layers, num_interactions : int
        As ``n_sensitivities``, ``n_features``, ``n_atom_layers`` and ``n_interaction_layers`` in
        hippynn.
    order : {"scalar", "vector", "quadrupole"}
        HIP-NN, or HIP-NN-TS with l = 1 or l = 2 (doi:10.1063/5.0142127).

    Raises
    ------
    InputError
        If a value is out of range.
    """

    r_max: float = 5.0
    soft_min: float = 0.6
    soft_max: float = 4.5
    num_sensitivities: int = 16
    channels: int = 32
    num_atom_layers: int = 2
    num_interactions: int = 2
    order: Order = "vector"

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise InputError(
                f"order: found {self.order!r}, expected one of {', '.join(get_args(Order))}"
            )
        for name in ("num_sensitivities", "channels", "num_atom_layers", "num_interactions"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        if not 0.0 < self.soft_min < self.soft_max <= self.r_max:
            raise InputError(
                f"soft_max: found soft_min {self.soft_min:g}, soft_max {self.soft_max:g} and r_max "
                f"{self.r_max:g} A, expected 0 < soft_min < soft_max <= r_max"
            )


@dataclass
class FeatureConfig:
    """Which feature network, and its shape.

    Attributes
    ----------
    kind : {"mace", "hipnn"}
    mace : BackboneConfig
        Read by ``mace``.
    hipnn : HIPNNConfig
        Read by ``hipnn``.

    Raises
    ------
    InputError
        If the kind is unknown.
    """

    kind: Kind = "mace"
    mace: BackboneConfig = field(default_factory=lambda: BackboneConfig(correlation=2))
    hipnn: HIPNNConfig = field(default_factory=HIPNNConfig)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(
                f"kind: found {self.kind!r}, expected one of {', '.join(get_args(Kind))}"
            )

    @property
    def neighbours(self) -> BackboneConfig:
        """The cut-offs of the network, in the form in which neighbour lists are built."""
        if self.kind == "mace":
            return self.mace
        return replace(self.mace, r_max=self.hipnn.r_max, pair_cutoffs=None)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FeatureConfig:
        """Inverse of `dataclasses.asdict`, also after a passage through JSON."""
        mace = dict(data["mace"])
        mace["radial_mlp"] = tuple(mace["radial_mlp"])
        if mace.get("normalisation") is not None:
            mace["normalisation"] = tuple(mace["normalisation"])
        return cls(data["kind"], BackboneConfig(**mace), HIPNNConfig(**data["hipnn"]))
