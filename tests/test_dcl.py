"""DCL and DCLW against their float64 twins, exact identities, hostile input and threads."""

import nearfar as nf
import numpy as np
import pytest
from reference import losses as twin

SIZES = [(2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (150, 40)]
WEIGHTED = [False, True]


def relative_error(got, wanted):
    return np.abs(np.asarray(got, dtype=np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-30)


def views_of(views, n, width, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) + rng.normal(size=(views, n, width))).astype(dtype)


def run(z, temperature, weighted, sigma=0.5, **keywords):
    if weighted:
        return nf.dclw(z, temperature, sigma=sigma, temperature_gradient=True, **keywords)
    return nf.dcl(z, temperature, temperature_gradient=True, **keywords)


def check(z, temperature, tolerance, weighted, sigma=0.5, **keywords):
    loss, (d_z, d_t) = run(z, temperature, weighted, sigma, **keywords)
    pulls = twin.dcl_pulls(z, sigma, **keywords) if weighted else None
    wanted = twin.dcl(z, temperature, pulls=pulls, **keywords)
    wanted_z, wanted_t = twin.dcl_gradients(z, temperature, pulls=pulls, **keywords)
    scale = 1 / temperature  # terms of this size cancel in the value
    assert type(loss) is float and loss == pytest.approx(wanted, rel=tolerance, abs=tolerance * scale)
    assert d_z.shape == z.shape and np.abs(d_z - wanted_z).max() <= tolerance * np.abs(wanted_z).max() + 1e-14
    assert d_t == pytest.approx(wanted_t, rel=10 * tolerance, abs=tolerance * scale**2)
    return loss, d_z


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("views, weighted", [(2, False), (2, True), (3, False), (5, False)])
def test_equals_its_twin(views, weighted, normalize):
    for n, width in SIZES:
        check(views_of(views, n, width), 0.3, 1e-10, weighted, normalize=normalize)


@pytest.mark.parametrize("weighted", WEIGHTED)
@pytest.mark.parametrize("n", [64, 513])
def test_several_blocks(weighted, n):
    check(views_of(2, n, 24, np.float32), 0.2, 1e-5, weighted)


@pytest.mark.parametrize("weighted", WEIGHTED)
@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.07, 0.5, 1.0, 100.0])
def test_float32_is_near_float64(weighted, temperature):
    assert check(views_of(2, 150, 64, np.float32), temperature, 1e-5, weighted)[1].dtype == np.float32
    check(views_of(2, 150, 64), temperature, 1e-9, weighted)
    check(views_of(2, 150, 64, np.float32), temperature, 1e-5, weighted, sigma=0.003)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_gradients_by_central_differences(normalize, temperature):
    for views, weighted in (2, False), (2, True), (3, False):
        z = views_of(views, 5, 4)
        _, (d_z, d_t) = run(z, temperature, weighted, normalize=normalize)
        fixed = {"pulls": twin.dcl_pulls(z, 0.5, normalize=normalize) if weighted else None, "normalize": normalize}
        differences = twin.central_differences(lambda x: twin.dcl(x, temperature, **fixed), z)  # noqa: B023
        assert relative_error(d_z, differences) < 1e-6
        differences = twin.central_differences(lambda t: twin.dcl(z, t, **fixed), temperature)  # noqa: B023
        assert relative_error(d_t, differences) < 1e-6


# ---- Identities ----


@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_nt_xent_is_the_softplus_of_dcl(temperature):
    """For one anchor NT-Xent is log(1 + exp(DCL)); two pairs that mirror each other make all four anchors alike."""
    a = np.array([[1.0, 0.2], [-1.0, -0.2]])
    b = np.array([[1.0, -0.2], [-1.0, 0.2]])
    z = np.stack([a, b])
    assert nf.nt_xent(z, temperature)[0] == pytest.approx(np.log1p(np.exp(nf.dcl(z, temperature)[0])), rel=1e-12)


def test_infinite_sigma_and_equal_pairs_weigh_nothing():
    z = views_of(2, 20, 6)
    loss, d_z = nf.dcl(z)
    same, d_same = nf.dclw(z, sigma=np.inf)
    assert same == loss and np.array_equal(d_same, d_z)
    twins = np.stack([z[0], z[0]])  # all pairs have the product 1
    assert nf.dclw(twins, sigma=0.1)[0] == pytest.approx(nf.dcl(twins)[0], rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_collapsed_embeddings(dtype):
    for n in 2, 33, 700:
        for views in 2, 3:
            loss, d_z = nf.dcl(np.full((views, n, 8), 0.3, dtype))
            assert loss == pytest.approx(np.log(views * (n - 1)), abs=1e-5) and np.abs(d_z).max() < 1e-4


@pytest.mark.parametrize("weighted", WEIGHTED)
def test_permutation_rotation_and_swapped_views(weighted):
    z = views_of(2, 60, 7)
    loss, (d_z, _) = run(z, 0.2, weighted)
    order = np.random.default_rng(1).permutation(60)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))[0]
    for changed, wanted in [(z[:, order], d_z[:, order]), (z[::-1], d_z[::-1]), (z @ rotation, d_z @ rotation)]:
        again, (d_changed, _) = run(changed, 0.2, weighted)
        assert again == pytest.approx(loss, rel=1e-12, abs=1e-12) and relative_error(d_changed, wanted) < 1e-11
    assert np.abs((z * d_z).sum(axis=-1)).max() < 1e-14


# ---- Hard cases and input ----


@pytest.mark.parametrize("weighted", WEIGHTED)
def test_scores_that_spread_far_and_rows_of_zeros(weighted):
    z = views_of(2, 30, 8)
    z[0, 3] = 0
    _, d_z = check(z, 0.2, 1e-10, weighted)
    assert not d_z[0, 3].any()
    z[:, :3] *= 1e3
    check(z, 1.0, 1e-8, weighted, sigma=1e5, normalize=False)
    ones = np.ones((2, 30, 4), np.float32) + 0.01 * views_of(2, 30, 4, np.float32)
    ones[0, 7] *= -1
    check(ones, 0.0079, 2e-5, weighted)


def test_input_of_any_kind():
    z = views_of(2, 20, 6)
    copy = z.copy()
    wanted, d_wanted = nf.dclw(z)
    for x in np.asfortranarray(z), z.tolist(), np.repeat(z, 2, axis=1)[:, ::2]:
        loss, d_x = nf.dclw(x)
        assert loss == wanted and np.array_equal(d_x, d_wanted)
    assert np.array_equal(z, copy)
    assert nf.dcl(z.astype(np.float16))[1].dtype == np.float32
    assert nf.dcl(np.arange(12).reshape(2, 3, 2))[1].dtype == np.float64


GOOD = np.random.default_rng(0).normal(size=(2, 4, 3))


@pytest.mark.parametrize("function", [nf.dcl, nf.dclw])
@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((GOOD[0],), ValueError, "z must have 3 dimensions, got 2"),
        ((GOOD[:1],), ValueError, "z must have (at least )?2 views.*got 1"),
        ((GOOD[:, :1],), ValueError, "z must have at least 2 samples"),
        ((GOOD[:, :0],), ValueError, "at least one sample and one dimension, got 0 of 3"),
        ((GOOD[:, :, :0],), ValueError, "at least one sample and one dimension, got 4 of 0"),
        ((GOOD, 0.0), ValueError, "temperature must be finite and > 0, got 0"),
        ((GOOD, np.inf), ValueError, "temperature must be finite and > 0, got inf"),
        ((GOOD, "warm"), TypeError, "real number"),
        ((GOOD.astype(complex),), TypeError, "z"),
        ((np.where(GOOD == GOOD[1, 2, 0], np.nan, GOOD),), ValueError, "z must be finite.*row 6"),
    ],
)
def test_bad_arguments(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


@pytest.mark.parametrize(
    "z, sigma, message",
    [
        (GOOD, 0.0, "sigma must be > 0, got 0"),
        (GOOD, -1.0, "sigma must be > 0, got -1"),
        (GOOD, np.nan, "sigma must be > 0, got nan"),
        (GOOD, 1e-310, "sigma must stay below 1e300"),
        (np.ones((3, 4, 3)), 0.5, "z must have 2 views for weighted positives, got 3"),
    ],
)
def test_bad_sigma(z, sigma, message):
    with pytest.raises(ValueError, match=message):
        nf.dclw(z, sigma=sigma)


# ---- Threads and memory ----
