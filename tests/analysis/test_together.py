"""One pass and several processes give what each observable gives alone."""

import numpy as np
import pytest

from voltase.analysis.backends import run_with_progress
from voltase.analysis.density import DensityProfile
from voltase.analysis.orientation import WaterOrientation
from voltase.analysis.rdf import SlabRDF
from voltase.analysis.readers import load
from voltase.analysis.testing import film
from voltase.analysis.together import Together
from voltase.aseplugin.errors import InputError


def test_together_is_as_each_alone(rng: np.random.Generator) -> None:
    u = load([film(rng) for _ in range(70)])
    alone = DensityProfile(u).run(step=2), SlabRDF(u, r_max=4.0).run(step=2)
    together = Together([DensityProfile(u), SlabRDF(u, r_max=4.0)])
    together.run(step=2)
    density, rdf = together.analyses
    np.testing.assert_array_equal(density.results.rho["O"], alone[0].results.rho["O"])
    np.testing.assert_array_equal(density.results.rho_err["O"], alone[0].results.rho_err["O"])
    np.testing.assert_array_equal(rdf.results.g_slab["O-O"]["both"],
                                  alone[1].results.g_slab["O-O"]["both"])  # fmt: skip
    assert together.n_frames == 35


@pytest.mark.parametrize("backend", ["serial", "multiprocessing"])
def test_backends_agree_and_report_progress(rng: np.random.Generator, backend: str) -> None:
    u = load([film(rng, 6) for _ in range(120)])
    plain = WaterOrientation(u, layers=[14.0]).run()
    seen: list[int] = []
    other = WaterOrientation(u, layers=[14.0])
    run_with_progress(other, backend=backend, workers=2, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 120
    assert len(seen) >= 4
    for name in ("cos_theta", "cos_theta_err", "map"):
        np.testing.assert_allclose(other.results.faces["both"][name],
                                   plain.results.faces["both"][name], rtol=1e-12)  # fmt: skip
    assert other.results.blocks == plain.results.blocks


def test_dask_gives_the_same(rng: np.random.Generator) -> None:
    pytest.importorskip("dask")
    u = load([film(rng, 6) for _ in range(60)])
    plain = DensityProfile(u).run().results
    seen: list[int] = []
    other = DensityProfile(u)
    run_with_progress(other, backend="dask", workers=2, progress=seen.append)
    np.testing.assert_allclose(other.results.rho["O"], plain.rho["O"], rtol=1e-12)
    assert seen == [60]


def test_mdanalysis_runs_it_in_processes_too(rng: np.random.Generator) -> None:
    u = load([film(rng, 6) for _ in range(30)])
    plain = DensityProfile(u).run().results
    other = DensityProfile(u).run(backend="multiprocessing", n_workers=2).results
    np.testing.assert_allclose(other.rho["O"], plain.rho["O"], rtol=1e-12)


def test_an_unknown_backend_is_refused(rng: np.random.Generator) -> None:
    u = load([film(rng, 2)])
    with pytest.raises(InputError, match="^backend: found 'gpu', expected one of serial"):
        run_with_progress(DensityProfile(u), backend="gpu")


def test_what_does_not_belong_together_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="^analyses: found none"):
        Together([])
    one, two = load([film(rng, 2)]), load([film(rng, 2)])
    with pytest.raises(InputError, match="^analyses: found different universes"):
        Together([DensityProfile(one), DensityProfile(two)])


def test_each_may_conclude_on_its_own(rng: np.random.Generator) -> None:
    class Failing(DensityProfile):
        def conclude(self) -> None:
            raise InputError("frames: too few")

    u = load([film(rng, 2)])
    with pytest.raises(InputError, match="too few"):
        Together([Failing(u), DensityProfile(u)]).run()
    analyses = [Failing(u), DensityProfile(u)]
    Together(analyses, conclude=False).run()
    with pytest.raises(InputError, match="too few"):
        analyses[0].finish()
    assert "rho" not in analyses[1].results
    analyses[1].finish()
    alone = DensityProfile(u).run()
    np.testing.assert_array_equal(analyses[1].results.rho["O"], alone.results.rho["O"])
