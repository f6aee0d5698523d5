"""The exceptions this package raises on purpose; each message is one line.

A message names the argument, what was found and what was expected. Command-line programs print
it and exit with status 2.
"""


class VoltaseError(Exception):
    """Base of every exception raised on purpose by this package."""


class InputError(VoltaseError, ValueError):
    """An argument, option or file content that cannot be used."""


class PotentialError(InputError):
    """An electrode potential that cannot be read, or is implausible for its reference."""


class CheckpointError(VoltaseError):
    """A model on disk that is unreadable, altered, pickled without trust, or of unknown format."""


class ExtrapolationError(VoltaseError):
    """A request outside the range a model was trained on."""


class AccuracyError(VoltaseError):
    """A result that cannot be given to the accuracy asked for."""


class EngineError(VoltaseError):
    """A code that is absent, cannot give what is asked, or wrote what cannot be used."""


class ScfError(EngineError):
    """A self-consistency cycle that did not converge; another start or a smaller step may help."""


class DynamicsError(VoltaseError):
    """A run that had to stop: not-a-number, explosion or lost atoms.

    Attributes
    ----------
    step : int or None
        The step at which the run stopped, counted from 0; None outside a run.
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step

    def __reduce__(self) -> tuple[type["DynamicsError"], tuple[str, int | None]]:
        # Without it, unpickling (a worker process) would drop the step.
        return type(self), (str(self), self.step)
