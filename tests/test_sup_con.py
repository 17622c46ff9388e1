"""SupCon against its float64 twin, exact identities, hostile input and threads."""

import nearfar as nf
import numpy as np
import pytest
from reference import losses as twin
from reference.loss_check import check_allocation_failures, check_any_number_of_threads

SIZES = [(2, 1), (3, 2), (7, 15), (15, 7), (16, 16), (17, 33), (31, 3), (33, 17), (150, 40)]
FORMS = ["out", "in"]


def relative_error(got, wanted):
    return np.abs(np.asarray(got, dtype=np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-30)


def batch(n, width, classes, dtype=np.float64, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-(classes // 2), classes - classes // 2, n)
    return (rng.normal(size=(classes, width))[labels] + noise * rng.normal(size=(n, width))).astype(dtype), labels


def check(z, labels, temperature, tolerance, **keywords):
    loss, (d_z, d_temperature) = nf.sup_con(z, labels, temperature, temperature_gradient=True, **keywords)
    wanted, wanted_temperature = twin.sup_con_gradients(z, labels, temperature, **keywords)
    value = twin.sup_con(z, labels, temperature, **keywords)
    assert type(loss) is float and loss == pytest.approx(value, rel=tolerance, abs=tolerance)
    assert d_z.shape == np.shape(z) and np.abs(d_z - wanted).max() <= tolerance * np.abs(wanted).max() + 1e-14
    assert d_temperature == pytest.approx(wanted_temperature, rel=10 * tolerance, abs=1e-12)
    return loss, d_z


@pytest.mark.parametrize("positives", FORMS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("classes", [1, 2, 5, 40])
def test_equals_its_twin(positives, normalize, classes):
    for n, width in SIZES:
        check(*batch(n, width, classes), 0.3, 1e-10, normalize=normalize, positives=positives)


@pytest.mark.parametrize("positives", FORMS)
@pytest.mark.parametrize("n", [64, 127, 513])
def test_several_blocks(positives, n):
    for classes in 1, 3, 10, n // 3:
        check(*batch(n, 24, classes, np.float32), 0.2, 1e-5, positives=positives)


@pytest.mark.parametrize("positives", FORMS)
@pytest.mark.parametrize("temperature", [0.001, 0.2])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-10)])
def test_weights(positives, temperature, dtype, tolerance):
    """With classes of one row, of a few, and of many, which are summed in parts."""
    for n, classes in (40, 30), (150, 20), (600, 2), (600, 5):
        z, labels = batch(n, 24, classes, dtype)
        weights = np.random.default_rng(n).normal(size=n)
        check(z, labels, temperature, tolerance, positives=positives, weights=weights)
        weights[np.bincount(labels - labels.min())[labels - labels.min()] == 1] = 1e20  # of rows without a positive
        check(z, labels, temperature, tolerance, positives=positives, weights=weights)


@pytest.mark.parametrize("positives", FORMS)
@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.07, 0.5, 1.0, 100.0])
def test_float32_is_near_float64(positives, temperature):
    for classes in 3, 100:
        z, labels = batch(300, 64, classes, np.float32)
        assert check(z, labels, temperature, 2e-5, positives=positives)[1].dtype == np.float32
        check(z.astype(np.float64), labels, temperature, 1e-9, positives=positives)


@pytest.mark.parametrize("positives", FORMS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_gradients_by_central_differences(positives, normalize, temperature):
    keywords = {"normalize": normalize, "positives": positives}
    rng = np.random.default_rng(0)
    # classes of 4, 3, 1, 1; two views; one class that is summed by "out"
    for z, labels in [
        (rng.normal(size=(9, 4)), [5, 5, -2, 5, 0, -2, 5, 7, -2]),
        (rng.normal(size=(2, 4, 3)), [1, 1, 2, 3]),
        (rng.normal(size=(39, 2)), [0] * 36 + [1, 1, 2]),
    ]:
        _, (d_z, d_t) = nf.sup_con(z, labels, temperature, temperature_gradient=True, **keywords)
        differences = twin.central_differences(lambda x: twin.sup_con(x, labels, temperature, **keywords), z)  # noqa: B023
        assert relative_error(d_z, differences) < 1e-6
        differences = twin.central_differences(lambda t: twin.sup_con(z, labels, t, **keywords), temperature)  # noqa: B023
        assert relative_error(d_t, differences) < 1e-6


# ---- Identities ----


@pytest.mark.parametrize("positives", FORMS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-11)])
def test_one_class_per_sample_is_nt_xent(positives, dtype, tolerance):
    rng = np.random.default_rng(0)
    for noise in 1.0, 1e-3:  # the second is near convergence, where nothing may cancel
        z = (np.eye(24) + noise * rng.normal(size=(2, 24, 24))).astype(dtype)
        for temperature in 0.05, 0.5:
            loss, (d_z, d_t) = nf.nt_xent(z, temperature, temperature_gradient=True)
            wanted = twin.nt_xent_gradients(z, temperature)[0]
            order = rng.permutation(24) * 1000
            same, (e_z, e_t) = nf.sup_con(z, order, temperature, positives=positives, temperature_gradient=True)
            assert same == pytest.approx(loss, rel=tolerance) and relative_error(e_t, d_t) < 10 * tolerance
            assert relative_error(e_z, wanted) < tolerance and relative_error(e_z, d_z) < 2 * tolerance
    z = rng.normal(size=(3, 10, 5))
    assert nf.sup_con(z, range(10))[0] == pytest.approx(nf.nt_xent(z, 0.1)[0], rel=1e-12)


def test_views_are_rows_with_repeated_labels():
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(3, 20, 6)), rng.integers(0, 4, 20)
    for positives in FORMS:
        loss, d_z = nf.sup_con(z, labels, positives=positives)
        flat, d_flat = nf.sup_con(z.reshape(60, 6), np.tile(labels, 3), positives=positives)
        assert loss == flat and np.array_equal(d_z.reshape(60, 6), d_flat)


@pytest.mark.parametrize("positives", FORMS)
def test_equal_scores(positives):
    for n in 2, 9, 100:
        for labels in np.zeros(n, int), np.arange(n) // 2:
            loss, d_z = nf.sup_con(np.ones((n, 3)), labels, positives=positives)
            assert loss == pytest.approx(np.log(n - 1), abs=1e-12) and np.abs(d_z).max() < 1e-10


def test_the_mean_outside_is_not_below_that_inside():
    for classes in 1, 3, 20:
        z, labels = batch(80, 6, classes)
        outside, inside = (nf.sup_con(z, labels, positives=form)[0] for form in FORMS)
        count = np.bincount(labels - labels.min())[labels - labels.min()] - 1
        assert outside >= inside - 1e-12 and inside >= np.log(count[count > 0]).mean() - 1e-12


@pytest.mark.parametrize("positives", FORMS)
def test_anchors_without_a_positive(positives):
    z, _ = batch(12, 5, 3)
    loss, (d_z, d_t) = nf.sup_con(z, range(12), positives=positives, temperature_gradient=True)
    assert loss == 0 and d_t == 0 and not d_z.any() and d_z.shape == (12, 5)
    assert nf.sup_con(z[:1], [3], positives=positives)[0] == 0
    labels = np.arange(12)
    labels[7] = 2  # one pair; the loss is the mean over its two anchors
    u = twin.normalized(z)
    terms = [twin.log_sum_exp(np.delete(u @ u[i], i) / 0.2) - u[2] @ u[7] / 0.2 for i in (2, 7)]
    assert nf.sup_con(z, labels, 0.2, positives=positives)[0] == pytest.approx(np.mean(terms), rel=1e-12)


@pytest.mark.parametrize("positives", FORMS)
def test_permuting_rows_and_naming_classes(positives):
    for classes in 2, 9, 60:
        z, labels = batch(90, 7, classes)
        order = np.random.default_rng(1).permutation(90)
        loss, d_z = nf.sup_con(z, labels, positives=positives)
        again, d_permuted = nf.sup_con(z[order], 5 - 1_000_003 * labels[order], positives=positives)
        assert again == pytest.approx(loss, rel=1e-12) and relative_error(d_permuted, d_z[order]) < 1e-11


# ---- Hard cases ----


@pytest.mark.parametrize("positives", FORMS)
def test_scores_that_spread_far(positives):
    z, labels = batch(60, 8, 5)
    z[:3] *= 1e3
    check(z, labels, 1.0, 1e-8, normalize=False, positives=positives)
    check(z, labels * 0, 1.0, 1e-8, normalize=False, positives=positives)
    ones = np.ones((60, 4), np.float32) + 0.01 * np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    ones[7] *= -1
    check(ones, labels, 0.0079, 2e-5, positives=positives)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positives", FORMS)
def test_rows_of_zeros_and_large_classes_of_equal_rows(dtype, positives):
    z, labels = batch(30, 6, 4, dtype)
    z[[3, 8]] = 0
    _, d_z = check(z, labels, 0.2, 1e-5, positives=positives)
    assert not d_z[[3, 8]].any()
    loss, _ = nf.sup_con(np.full((900, 4), 0.3, dtype), np.arange(900) % 2, 0.1, positives=positives)
    assert loss == pytest.approx(np.log(899), rel=1e-5 if dtype == np.float32 else 1e-12)


def test_input_of_any_kind():
    z, labels = batch(20, 6, 4)
    wanted = nf.sup_con(z, labels)
    copy = z.copy()
    for x, y in [
        (np.asfortranarray(z), labels.astype(np.int8)),
        (z.tolist(), labels.tolist()),
        (np.repeat(z, 2, axis=0)[::2], np.repeat(labels, 2)[::2]),
    ]:
        loss, d_z = nf.sup_con(x, y)
        assert loss == wanted[0] and np.array_equal(d_z, wanted[1])
    assert np.array_equal(z, copy)
    assert nf.sup_con(z.astype(np.float16), labels)[1].dtype == np.float32
    assert nf.sup_con(np.arange(12).reshape(4, 3), [0, 0, 1, 1])[1].dtype == np.float64
    assert nf.sup_con(z, labels > 0)[0] == nf.sup_con(z, (labels > 0).astype(int))[0]


GOOD = np.random.default_rng(0).normal(size=(4, 3))
LABELS = [0, 0, 1, 1]


@pytest.mark.parametrize(
    "arguments, keywords, error, message",
    [
        ((GOOD, LABELS[:3]), {}, ValueError, "labels must have one element for each of 4 samples of z, got 3"),
        ((np.ones((2, 4, 3)), LABELS * 2), {}, ValueError, "one element for each of 4 samples of z, got 8"),
        ((GOOD, [LABELS]), {}, ValueError, "labels must have 1 dimension"),
        ((GOOD[0], LABELS), {}, ValueError, "z must have 2 to 3 dimensions, got 1"),
        ((GOOD[:0], []), {}, (ValueError, TypeError), "labels|at least one row"),
        ((GOOD[:0], np.zeros(0, int)), {}, ValueError, "at least one row and one column"),
        ((GOOD[:, :0], LABELS), {}, ValueError, "at least one row and one column"),
        ((np.ones((0, 4, 3)), LABELS), {}, ValueError, "at least one row and one column"),
        ((GOOD, [0.0, 0.0, 1.0, 1.0]), {}, TypeError, "labels"),
        ((GOOD, list("aabb")), {}, TypeError, "labels"),
        ((GOOD, None), {}, (TypeError, ValueError), "labels"),
        ((GOOD.astype(complex), LABELS), {}, TypeError, "z"),
        ((GOOD, LABELS, 0.0), {}, ValueError, "temperature must be finite and > 0, got 0"),
        ((GOOD, LABELS, np.nan), {}, ValueError, "temperature must be finite and > 0, got nan"),
        ((GOOD, LABELS, "warm"), {}, TypeError, "real number"),
        ((GOOD, LABELS), {"positives": "both"}, ValueError, "positives must be 'out' or 'in', got 'both'"),
        ((GOOD * 1e200, LABELS), {"normalize": False}, ValueError, "must stay below 1e300"),
    ],
)
def test_bad_arguments(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        nf.sup_con(*arguments, **keywords)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_found_in_their_row(bad):
    for dtype in np.float32, np.float64:
        z = np.ones((6, 19), dtype)
        z[4, 18] = z[5, 0] = bad
        with pytest.raises(ValueError, match="z must be finite, got NaN or infinity in row 4"):
            nf.sup_con(z, [9, 8, 9, 8, 7, 1])


# ---- Threads and memory ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    batches = [batch(500, 20, classes, dtype) for classes in (3, 200)]
    check_any_number_of_threads(
        lambda: [nf.sup_con(*b, positives=form, temperature_gradient=True) for b in batches for form in FORMS]
    )


@pytest.mark.parametrize("positives", FORMS)
@pytest.mark.parametrize("temperature", [0.1, 0.001])
def test_allocation_failures(positives, temperature):
    z, labels = batch(80, 6, 2, np.float32)
    check_allocation_failures(lambda: nf.sup_con(z, labels, temperature, positives=positives), 5)
