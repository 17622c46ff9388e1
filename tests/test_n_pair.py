"""The N-pair loss against its float64 twin, identities and hostile input."""

import nearfar as nf
import numpy as np
import pytest
from reference import losses as twin


def pairs(n, width, dtype=np.float64):
    return np.random.default_rng(0).normal(size=(2, n, width)).astype(dtype)


@pytest.mark.parametrize("l2", [0.0, 0.002, 1.5])
@pytest.mark.parametrize("n, width", [(1, 3), (2, 1), (7, 5), (16, 3), (17, 2)])
def test_value_and_central_differences(n, width, l2):
    query, key = pairs(n, width)
    loss, (d_query, d_key) = nf.n_pair(query, key, l2=l2)
    assert type(loss) is float and loss == pytest.approx(twin.n_pair(query, key, l2=l2), rel=1e-12, abs=1e-14)
    for d_x, wanted in [
        (d_query, twin.central_differences(lambda x: twin.n_pair(x, key, l2=l2), query)),
        (d_key, twin.central_differences(lambda x: twin.n_pair(query, x, l2=l2), key)),
    ]:
        assert np.abs(d_x - wanted).max() <= 1e-6 * max(np.abs(wanted).max(), 1e-3)


def test_float32_types_and_layout():
    query, key = pairs(150, 20, np.float32)
    loss, gradients = nf.n_pair(query, key, l2=0.1)
    wanted, expected = nf.n_pair(query.astype(np.float64), key.astype(np.float64), l2=0.1)
    assert loss == pytest.approx(wanted, rel=1e-5)
    for d_x, e_x in zip(gradients, expected, strict=True):
        assert d_x.dtype == np.float32 and np.abs(d_x - e_x).max() < 1e-5 * np.abs(e_x).max()
    copies = query.copy(), key.copy()
    half = nf.n_pair(np.asfortranarray(query).astype(np.float16), key.tolist())
    assert half[1][0].dtype == np.float64
    assert np.array_equal(query, copies[0]) and np.array_equal(key, copies[1])


def test_without_penalty_it_is_info_nce():
    query, key = pairs(40, 6)
    loss, gradients = nf.n_pair(query, key, l2=0)
    same, others = nf.info_nce(query, key, 1.0, normalize=False)
    assert loss == same and all(np.array_equal(a, b) for a, b in zip(gradients, others, strict=True))


GOOD = np.ones((4, 3))


@pytest.mark.parametrize(
    "arguments, l2, error, message",
    [
        ((GOOD, GOOD[:3]), 0.1, ValueError, "same shape"),
        ((GOOD[0], GOOD), 0.1, ValueError, "query must have 2 dimensions, got 1"),
        ((GOOD[:0], GOOD[:0]), 0.1, ValueError, "at least one row"),
        ((GOOD, GOOD * np.nan), 0.1, ValueError, "key must be finite"),
        ((GOOD, GOOD.astype(complex)), 0.1, TypeError, "key"),
        ((GOOD, GOOD), -0.1, ValueError, "l2 must be finite and >= 0, got -0.1"),
        ((GOOD, GOOD), np.nan, ValueError, "l2 must be finite and >= 0, got nan"),
        ((GOOD, GOOD), "strong", TypeError, "str"),
        ((GOOD * 1e200, GOOD * 1e-100), 0.1, ValueError, "query's squares must stay below 1e300"),
    ],
)
def test_bad_arguments(arguments, l2, error, message):
    with pytest.raises(error, match=message):
        nf.n_pair(*arguments, l2=l2)
