"""Debiased NT-Xent with hard negatives against its float64 twin, exact identities, hostile input and threads."""

import nearfar as nf
import numpy as np
import pytest
from reference import losses as twin

SIZES = [(2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (150, 40)]
SETTINGS = [(0.0, 0.0), (0.1, 0.0), (0.0, 1.0), (0.1, 0.5), (0.02, 2.0), (0.5, 1.0)]


def relative_error(got, wanted):
    return np.abs(np.asarray(got, dtype=np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-30)


def pairs(n, width, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) + rng.normal(size=(2, n, width))).astype(dtype)


def loss_of(z, temperature, tau_plus, beta):
    return nf.debiased_nt_xent(z, temperature, tau_plus=tau_plus, beta=beta, temperature_gradient=True)


@pytest.mark.parametrize("tau_plus, beta", SETTINGS)
def test_value_equals_its_twin(tau_plus, beta):
    for n, width in SIZES:
        for temperature in 0.05, 0.5, 5.0:
            z = pairs(n, width)
            wanted = twin.debiased_nt_xent(z, temperature, tau_plus=tau_plus, beta=beta)
            assert loss_of(z, temperature, tau_plus, beta)[0] == pytest.approx(wanted, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("tau_plus, beta", SETTINGS)
@pytest.mark.parametrize("temperature", [0.2, 0.5, 2.0])
def test_gradients_by_central_differences(tau_plus, beta, temperature):
    keywords = {"tau_plus": tau_plus, "beta": beta}
    for n, width in (5, 4), (9, 2):
        z = pairs(n, width)
        _, (d_z, d_t) = loss_of(z, temperature, **keywords)
        differences = twin.central_differences(lambda x: twin.debiased_nt_xent(x, temperature, **keywords), z)
        assert relative_error(d_z, differences) < 1e-6
        differences = twin.central_differences(lambda t: twin.debiased_nt_xent(z, t, **keywords), temperature)  # noqa: B023
        assert d_t == pytest.approx(differences, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("tau_plus, beta", SETTINGS)
def test_float32_is_near_float64(tau_plus, beta):
    for n in 40, 257:
        for temperature in 0.01, 0.1, 0.5, 10.0:
            z = pairs(n, 64, np.float32)
            loss, (d_z, d_t) = loss_of(z, temperature, tau_plus, beta)
            wanted, (e_z, e_t) = loss_of(z.astype(np.float64), temperature, tau_plus, beta)
            assert d_z.dtype == np.float32 and loss == pytest.approx(wanted, rel=1e-5, abs=1e-6)
            # What is subtracted has 2 n tau_plus times the size of the positive, and may leave as little as that.
            tolerance = 1e-5 + 1e-7 / temperature * (1 + 2 * n * tau_plus)
            assert relative_error(d_z, e_z) < tolerance and d_t == pytest.approx(e_t, rel=10 * tolerance, abs=1e-5)


# ---- Identities ----


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-11)])
@pytest.mark.parametrize("temperature", [0.001, 0.05, 0.5, 5.0])
def test_nothing_to_correct_is_nt_xent(dtype, tolerance, temperature):
    z = pairs(60, 12, dtype)
    loss, (d_z, d_t) = nf.nt_xent(z, temperature, temperature_gradient=True)
    same, (e_z, e_t) = loss_of(z, temperature, 0, 0)
    assert same == pytest.approx(loss, rel=tolerance, abs=1e-12)
    assert relative_error(e_z, d_z) < tolerance and e_t == pytest.approx(d_t, rel=10 * tolerance, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_scores(dtype):
    for tau_plus, beta in SETTINGS:
        for n in 2, 33, 300:
            loss, d_z = nf.debiased_nt_xent(np.full((2, n, 4), 0.3, dtype), 0.1, tau_plus=tau_plus, beta=beta)
            assert loss == pytest.approx(np.log(2 * n - 1), rel=2e-5) and np.abs(d_z).max() < 1e-3


def test_hard_negatives_raise_the_loss_to_that_of_the_hardest():
    z = pairs(30, 6)
    losses = [nf.debiased_nt_xent(z, tau_plus=0, beta=beta)[0] for beta in (0, 0.5, 1, 2, 10, 10_000)]
    assert losses == sorted(losses)
    u = twin.normalized(z).reshape(60, 6)
    scores, sample = u @ u.T / 0.5, np.arange(60) % 30
    hardest = np.where(sample[:, None] == sample, -np.inf, scores).max(axis=1)
    positive = np.tile((u[:30] * u[30:]).sum(axis=1) / 0.5, 2)
    assert losses[-1] == pytest.approx(np.log1p(58 * np.exp(hardest - positive)).mean(), rel=1e-3)


def test_the_floor_takes_over():
    """Identical views and many supposed false negatives: only the smallest possible sum is left."""
    z = np.stack([np.eye(6)] * 2)
    loss, (d_z, _) = loss_of(z, 0.5, 0.9, 0.0)
    assert loss == pytest.approx(np.log1p(10 * np.exp(-4)), rel=1e-12) and np.abs(d_z).max() < 1e-14


def test_permuting_samples():
    z = pairs(50, 7)
    order = np.random.default_rng(1).permutation(50)
    loss, (d_z, _) = loss_of(z, 0.2, 0.05, 1.0)
    again, (d_permuted, _) = loss_of(z[:, order], 0.2, 0.05, 1.0)
    assert again == pytest.approx(loss, rel=1e-12) and relative_error(d_permuted, d_z[:, order]) < 1e-11


# ---- Input, threads, memory ----

GOOD = np.random.default_rng(0).normal(size=(2, 4, 3))


@pytest.mark.parametrize(
    "z, keywords, error, message",
    [
        (GOOD[0], {}, ValueError, "z must have 3 dimensions, got 2"),
        (GOOD[:1], {}, ValueError, "z must have 2 views, got 1"),
        (np.ones((3, 4, 3)), {}, ValueError, "z must have 2 views, got 3"),
        (GOOD[:, :1], {}, ValueError, "at least 2 samples and one dimension, got 1 of 3"),
        (GOOD[:, :, :0], {}, ValueError, "at least 2 samples and one dimension, got 4 of 0"),
        (GOOD, {"temperature": 0.0}, ValueError, "temperature must be finite and > 0, got 0"),
        (GOOD, {"temperature": np.nan}, ValueError, "temperature must be finite and > 0, got nan"),
        (GOOD, {"tau_plus": -0.1}, ValueError, "tau_plus must be from 0 to 0.999, got -0.1"),
        (GOOD, {"tau_plus": 1.0}, ValueError, "tau_plus must be from 0 to 0.999, got 1"),
        (GOOD, {"tau_plus": np.nan}, ValueError, "tau_plus must be from 0 to 0.999, got nan"),
        (GOOD, {"beta": -1.0}, ValueError, "beta must be 0 or from 1e-6 to 1e4, got -1"),
        (GOOD, {"beta": np.inf}, ValueError, "beta must be 0 or from 1e-6 to 1e4, got inf"),
        (GOOD, {"beta": "hard"}, TypeError, "real number"),
        (GOOD.astype(complex), {}, TypeError, "z"),
        (np.where(GOOD == GOOD[1, 2, 0], np.inf, GOOD), {}, ValueError, "z must be finite.*row 6"),
    ],
)
def test_bad_arguments(z, keywords, error, message):
    with pytest.raises(error, match=message):
        nf.debiased_nt_xent(z, **keywords)


def test_extreme_settings_stay_finite():
    for dtype in np.float32, np.float64:
        z = pairs(40, 8, dtype)
        z[0, 3] = 0
        z[1, 5] = -z[0, 5]
        for temperature in 1e-5, 0.001, 0.01, 1.0, 1e5:
            for tau_plus in 0.0, 1e-6, 0.999:
                for beta in 0.0, 1e-6, 30.0, 1e4:
                    loss, (d_z, d_t) = loss_of(z, temperature, tau_plus, beta)
                    assert np.isfinite(loss) and np.isfinite(d_z).all() and np.isfinite(d_t) and not d_z[0, 3].any()
