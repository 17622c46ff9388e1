"""What the tests of several losses do: odd layouts, central differences, threads, allocations that fail."""

import nearfar as nf
import numpy as np
from nearfar import _core
from reference.losses import central_differences


def relative_error(got, wanted):
    wanted = np.asarray(wanted, dtype=np.float64)
    if wanted.size == 0:
        return 0.0 if np.size(got) == 0 else np.inf
    return np.abs(np.asarray(got, dtype=np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-30)


def in_some_layout(rng, x):
    """The same numbers as `x`, a copy: contiguous, with strides, backwards, in Fortran's order or big-endian."""
    kind = rng.integers(5)
    if kind == 0:
        return x.copy()
    if kind == 1:
        big = np.full([2 * n for n in x.shape], np.nan, x.dtype)
        view = big[tuple(slice(None, None, 2) for _ in x.shape)]
        view[...] = x
        return view
    if kind == 2:
        return x[::-1].copy()[::-1]
    return np.asfortranarray(x) if kind == 3 else x.astype(x.dtype.newbyteorder(">"))


def check_by_central_differences(value, inputs, gradients, tolerance=1e-6):
    """`gradients` are those of value(**inputs), one for each of `inputs`, arrays and numbers."""
    for (name, x), gradient in zip(inputs.items(), gradients, strict=True):
        assert np.shape(gradient) == np.shape(x)
        wanted = central_differences(lambda x, name=name: value(**{**inputs, name: x}), x)
        error = np.abs(np.asarray(gradient) - wanted).max(initial=0)
        assert error <= tolerance * max(np.abs(wanted).max(initial=0), 1e-3), name


def flat(result):
    """All numbers and arrays of a result, one after the other."""
    if isinstance(result, (tuple, list)):
        return [part for element in result for part in flat(element)]
    return [result]


def same_bits(a, b):
    return all(np.array_equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


def check_any_number_of_threads(function):
    before = nf.get_num_threads()
    try:
        nf.set_num_threads(1)
        wanted = function()
        for count in 2, 3, 7:
            nf.set_num_threads(count)
            assert same_bits(function(), wanted)
    finally:
        nf.set_num_threads(before)


def check_allocation_failures(function, least):
    """Each allocation that fails is a MemoryError, and the next call is right."""
    wanted, failures = function(), 0
    while True:
        _core._alloc_fail_at(failures + 1)
        try:
            result = function()
        except MemoryError:
            failures += 1
        else:
            break
        finally:
            _core._alloc_fail_at(0)
    assert failures >= least
    assert same_bits(result, wanted)
