"""What a network must survive: absurd sizes, signals, forks, threads, arrays that are bent or outlive it."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from nearfar import _core
from reference.nn_check import AVERAGE, RELU, SUM, batch_norm, build, chain, check, conv, linear, plain, pool

LAYERS = chain(conv(16, 3), batch_norm(), plain(RELU), conv(16, 3, 2), batch_norm(), plain(AVERAGE), linear(5))


def network(seed=0):
    return build(LAYERS, (-1, -1, 3), np.random.default_rng(seed))


def images(n=4, size=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, size, size, 3)).astype(np.float32)


def step(core, x):
    y = core.forward(x, True, 1)
    return y.tobytes(), core.backward(y, True, False).tobytes(), core.gradients.tobytes()


# ---- gradients that meet in one place ----


@pytest.mark.parametrize(
    "layers",
    [
        [batch_norm(source=-1), plain(SUM, 0, -1)],
        [batch_norm(source=-1), plain(SUM, -1, 0), plain(RELU, 1)],
        [batch_norm(source=-1), batch_norm(source=-1), plain(SUM, 0, 1), plain(SUM, 2, -1)],
        [plain(RELU, -1), batch_norm(source=0), plain(SUM, 1, 0), plain(SUM, 2, -1)],
        [plain(SUM, -1, -1), plain(SUM, -1, 0), plain(RELU, 1)],
        [conv(3, 1, source=-1), pool(1, 1, 0, source=-1), plain(SUM, 0, 1), plain(SUM, 2, -1)],
    ],
    ids=range(6),
)
def test_the_gradient_of_the_input_has_all_its_parts(layers):
    check(layers, (4, 3, 2, 3), differences=True)


@pytest.mark.parametrize(
    "stride, padding, kernel", [(5, 0, 3), (7, 2, 3), (3, 4, 5), (40, 1, 2), (2, 6, 7), (9, 30, 31)]
)
def test_strides_beyond_the_kernel_or_the_image(stride, padding, kernel):
    check([conv(4, kernel, stride, padding)], (2, 11, 6, 3) if kernel < 7 else (2, 9, 8, 3))


# ---- sizes ----


def test_absurd_sizes_are_refused_at_once():
    begin = time.monotonic()
    wide = _core.Network([conv(1 << 20, 1), *[plain(RELU, i) for i in range(3000)]], (-1, -1, 1))
    with pytest.raises((MemoryError, ValueError)):  # its activations would have more than 2^64 bytes
        wide.memory_bytes(1 << 11, 1 << 10, 1 << 10, True, 1)
    sparse = _core.Network([conv(8, 3, 1 << 24)], (-1, -1, 1))
    assert sparse.memory_bytes(1, 1 << 24, 1 << 24, True, 1) > 1 << 50
    heavy = _core.Network([conv(256, 15)], (-1, -1, 256))  # more than 2^64 multiplications
    assert heavy.memory_bytes(1 << 38, 4, 4, True, 1) > 1 << 50
    core = network()
    for sizes in [
        (1 << 40, 1, 1),
        (1 << 62, 8, 8),
        (1, 1 << 62, 8),
        (1 << 40, 1 << 24, 1 << 24),
        (-1, 8, 8),
        (1, -1, 8),
    ]:
        try:
            assert core.memory_bytes(*sizes, True, 1) > 1 << 40
        except (MemoryError, ValueError):
            pass
    for sizes in [(1 << 70, 8, 8), (1, 1 << 64, 8)]:
        with pytest.raises((OverflowError, ValueError)):
            core.memory_bytes(*sizes, True, 1)
    huge = np.broadcast_to(np.float32(1), (1 << 30, 64, 64, 3))  # one number in memory
    with pytest.raises((MemoryError, ValueError)):
        core.forward(huge, False, 1)
    assert time.monotonic() - begin < 10


def test_many_layers():
    core = _core.Network([plain(RELU, i - 1) for i in range(2000)], (3,))
    np.testing.assert_array_equal(core.forward(np.ones((2, 3)), True, 1), np.ones((2, 3)))
    np.testing.assert_array_equal(core.backward(np.ones((2, 3)), True, False), np.ones((2, 3)))


# ---- Python code that runs inside ----


def test_options_that_change_the_list_they_are_in():
    layers = []

    class Shifty:
        def __index__(self):
            layers.clear()
            kinds.clear()
            return 3

    kinds = {**conv(4, 3)[2], "out_channels": Shifty()}
    layers += [("conv", (-1,), kinds)] + [plain(RELU, i) for i in range(50)]
    with pytest.raises(ValueError):
        _core.Network(layers, (8, 8, 3))


@pytest.fixture
def alarm():
    """Sets a handler of SIGALRM that comes again and again, and takes it away afterwards."""

    def start(handler):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.03, 0.03)

    before = signal.getsignal(signal.SIGALRM)
    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_signal_handlers_may_use_networks(alarm):
    """Another one works, the one that is busy says so, and neither disturbs the call that was interrupted."""
    core, other, x, small = network(), network(1), images(256, 48), images()
    wanted, wanted_other = step(core, x), step(other, small)
    refusals, results, between = [], set(), []

    def handler(number, frame):
        results.add(step(other, small))
        try:
            core.forward(small, False, 1)
            between.append(number)
        except ValueError as error:
            refusals.append(str(error))

    alarm(handler)
    for _ in range(100):
        between.clear()
        try:
            assert step(core, x) == wanted
        except ValueError as error:  # the handler came between the two calls, and took what forward had kept
            assert between and str(error).startswith("backward needs a forward")
        if refusals:
            break
    assert results == {wanted_other}
    assert set(refusals) == {"a network can't be run from inside a call to itself"}


class Interrupt(Exception):
    pass


def test_an_interrupted_call_can_be_made_again(alarm):
    core, x = network(), images(256, 48)
    wanted = step(core, x)
    statistics = core.statistics.copy()

    def handler(number, frame):
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Interrupt

    for _ in range(10):
        with pytest.raises(Interrupt):
            alarm(handler)
            while True:
                step(core, x)
        core.statistics[:] = statistics
        assert step(core, x) == wanted


# ---- forks and threads ----


def in_child(function):
    """Whether `function` returns truth in a forked child, within ten seconds."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if function() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that forks and threads don't go together
def test_forks_while_a_thread_runs_the_same_network():
    core, x, small = network(), images(64, 32), images()
    wanted = core.forward(small, False, 1).tobytes()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            core.forward(x, False, 1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            time.sleep(0.003)
            assert in_child(lambda: core.forward(small, False, 1).tobytes() == wanted)
    finally:
        stop.set()
        thread.join()
    assert core.forward(small, False, 1).tobytes() == wanted


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_between_forward_and_backward():
    core, x = network(), images()
    wanted = step(core, x)
    y = core.forward(x, True, 1)
    assert in_child(lambda: core.backward(y, True, False).tobytes() == wanted[1])
    assert core.backward(y, True, False).tobytes() == wanted[1]


def test_threads_that_share_a_network_in_training():
    """They get in each other's way, with an error or another's gradients, but nothing breaks."""
    core, failures = network(), []
    batches = [images(n, size) for n in (2, 5) for size in (8, 17)]

    def work(seed):
        random = np.random.default_rng(seed)
        try:
            for _ in range(60):
                x = batches[random.integers(4)]
                try:
                    y = core.forward(x, True, 1)
                    core.backward(y, True, bool(seed % 2))
                except ValueError as error:
                    assert str(error).startswith(("backward needs", "another thread", "d_y must have the shape"))
                core.forward(x, False, 1)
                if seed == 0:
                    _core.set_num_threads(int(random.integers(1, 5)))
        except BaseException as failure:
            failures.append(failure)

    before = _core.get_num_threads()
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _core.set_num_threads(before)
    assert not failures
    core.statistics[:] = network().statistics
    core.parameters[:] = network().parameters
    assert step(core, batches[0]) == step(network(), batches[0])


# ---- arrays ----


def test_results_outlive_the_network():
    core, x = network(), images()
    wanted = step(network(), x)
    y = core.forward(x, True, 1)
    d_x, gradients = core.backward(y, True, False), core.gradients
    del core
    others = [step(network(seed), x) for seed in range(3)]
    assert (y.tobytes(), d_x.tobytes(), gradients.tobytes()) == wanted and len(set(others)) == 3
    y += 1
    d_x += 1
    gradients += 1


def test_results_are_not_overwritten_by_later_calls():
    core, x = network(), images()
    y = core.forward(x, True, 1)
    d_x = core.backward(y, True, False)
    kept = y.copy(), d_x.copy()
    y2 = core.forward(-x, True, 1)
    core.backward(y2, True, False)
    np.testing.assert_array_equal(y, kept[0])
    np.testing.assert_array_equal(d_x, kept[1])


def test_vectors_that_are_bent():
    """The network keeps to its memory, whatever becomes of the array object that shows it."""
    core, x = network(), images()
    wanted = step(network(), x)
    for vector in (core.parameters, core.gradients, core.statistics):
        with pytest.raises(ValueError):
            vector.resize(3, refcheck=False)
    core.parameters.__setstate__((1, (1,), np.dtype("f4"), False, b"1234"))
    core.gradients.__setstate__((1, (0,), np.dtype("f4"), False, b""))
    core.statistics.__setstate__((1, (1,), np.dtype("f4"), False, b"1234"))
    y = core.forward(x, True, 1)
    assert (y.tobytes(), core.backward(y, True, False).tobytes()) == wanted[:2]


def test_arguments_that_overlap():
    """The input may be the network's own memory: it is read before anything is written."""
    layers = [linear(4, bias=0)]
    core, twin = (_core.Network(layers, (4,)) for _ in range(2))
    core.parameters[:] = twin.parameters[:] = np.arange(16)
    x = twin.parameters.reshape(4, 4).copy()
    np.testing.assert_array_equal(core.forward(core.parameters.reshape(4, 4), True, 1), y := twin.forward(x, True, 1))
    core.gradients[:] = np.ravel(y)
    np.testing.assert_array_equal(
        core.backward(core.gradients.reshape(4, 4), True, False), twin.backward(y, True, False)
    )
    np.testing.assert_array_equal(core.gradients, twin.gradients)
