"""No potentiostat: the model takes the potential as a parameter and returns n."""

from voltase.aseplugin.potentiostat.contract import GRAND_CANONICAL
from voltase.aseplugin.potentiostat.methods.base import Potentiostat


class Direct(Potentiostat):
    """Dynamics on Omega(R, Phi_t), with n = dOmega/dPhi; one evaluation a step.

    Conserves the ions' kinetic energy + Omega. n has no fluctuations beyond those that follow the
    ions. The work of a changing potential, the integral of n dPhi_t, is summed up by the trapezoid
    rule over the ends of each step, which is exact for a jump of an Omega quadratic in Phi.
    """

    name = "direct"
    ensemble = GRAND_CANONICAL

    _change = 0.0

    def start(self, target: float, excess_electrons: float | None) -> None:
        """First single point; n is not free to be given."""
        self.target = target
        self._evaluate()

    def midpoint(self, target: float) -> None:
        """Adopt the target."""
        self._change = target - self.target
        self.target = target

    def evaluate(self) -> None:
        """Single point at the target potential."""
        before = self.n
        self._evaluate()
        self.work += 0.5 * (before + self.n) * self._change

    def _evaluate(self) -> None:
        self.point = self.context.model.evaluate(self.context.atoms, self.target)
        self.n = self.current.excess_electrons
        self.context.limits.check_n(self.n)

    @property
    def conserved_energy(self) -> float:
        """Omega less work, eV."""
        return self.current.grand_energy - self.work
