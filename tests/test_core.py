"""The core: random numbers, exponential, configuration, threads, forks, signals."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nearfar as nf
import numpy as np
import pytest
import threadpoolctl
from nearfar import _core
from reference import random as twin

HERE = Path(__file__).resolve().parent
ALL_SETS = ["scalar", "avx2", "avx512"]


def run_python(code, timeout=60, **environment):
    """Runs code in a fresh interpreter; None removes a variable. Returns the finished process."""
    env = os.environ | {k: v for k, v in environment.items() if v is not None}
    for name in [k for k, v in environment.items() if v is None]:
        env.pop(name, None)
    return subprocess.run([sys.executable, "-c", code], env=env, timeout=timeout, capture_output=True, text=True)


def output_of(code, **environment):
    done = run_python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def available_sets():
    best = output_of("from nearfar import _core; print(_core.config()['instruction_set'])", NEARFAR_ISA=None)
    return ALL_SETS[: ALL_SETS.index(best) + 1]


# ---- Random numbers ----


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_known_answers(counter, key, answer):
    """The answers that are published with the generator (Random123)."""
    assert _core._philox(counter, key) == answer
    assert tuple(int(word) for word in twin.philox(counter, key)) == answer


def test_philox_agrees_with_its_twin():
    words = np.random.default_rng(0).integers(0, 2**32, (6, 500), dtype=np.uint64)
    expected = np.stack(twin.philox(words[:4], words[4:]))
    for i in range(500):
        c, k = tuple(words[:4, i].tolist()), tuple(words[4:, i].tolist())
        assert _core._philox(c, k) == tuple(expected[:, i].tolist())


@pytest.mark.parametrize(
    ("seed", "epoch", "index", "stream"),
    [(0, 0, 0, 0), (2**64 - 1, 2**32 - 1, 2**64 - 1, 2**20 - 1), (12345678901234, 3, 2**40 + 7, 17)],
)
def test_streams_agree_with_their_twin(seed, epoch, index, stream):
    place = (seed, epoch, index, stream)
    bits, whole, uniform, normal = (twin.Stream(*place) for _ in range(4))
    assert _core._draw("bits", *place, 101) == [bits.bits() for _ in range(101)]
    assert _core._draw("integer", *place, 101, 7) == [whole.below(7) for _ in range(101)]
    assert _core._draw("uniform", *place, 101) == [uniform.uniform() for _ in range(101)]
    np.testing.assert_allclose(_core._draw("normal", *place, 101), [normal.normal() for _ in range(101)], rtol=1e-14)


def test_streams_are_apart():
    places = [(0, 0, 0, 0), (1, 0, 0, 0), (2**32, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 2**32, 0), (0, 0, 0, 1)]
    draws = {tuple(_core._draw("bits", *place, 8)) for place in places}
    assert len(draws) == len(places)
    one, two = _core._draw("bits", 0, 0, 0, 0, 2**14 + 4), _core._draw("bits", 0, 0, 0, 1, 4)
    assert one[2**14 :] == two  # only after the 2^14 draws that belong to the stream
    assert len(set(one[: 2**14])) > 2**14 - 10


def test_distributions():
    n = 40_000
    uniform = np.array(_core._draw("uniform", 5, 0, 0, 0, n))
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 / np.sqrt(12 * n)
    assert abs(np.mean(uniform**2) - 1 / 3) < 4 * np.sqrt(4 / 45 / n)
    normal = np.array(_core._draw("normal", 6, 0, 0, 0, n))
    assert abs(normal.mean()) < 4 / np.sqrt(n)
    assert abs(normal.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(np.mean(normal**4) - 3) < 4 * np.sqrt(96 / n)
    counts = np.bincount(_core._draw("integer", 7, 0, 0, 0, n, 10), minlength=10)
    assert len(counts) == 10
    assert np.sum((counts - n / 10) ** 2 / (n / 10)) < 30  # chi squared, 9 degrees of freedom


# ---- exp ----

EXP = """
import numpy as np
from nearfar import _core
rng = np.random.default_rng(0)
for real, low, high in ((np.float32, -87.3, 88.7), (np.float64, -708.3, 709.7)):
    info = np.finfo(real)
    smallest = np.log(np.longdouble(info.smallest_normal))
    x = np.concatenate([rng.uniform(low, high, 200_001), rng.uniform(-1, 1, 100_003), np.linspace(-1e-6, 1e-6, 999)])
    x = x.astype(real)
    exact = np.exp(x.astype(np.longdouble))
    spacing = np.spacing(exact.astype(real)).astype(np.longdouble)
    print(float(np.max(np.abs(_core._kernel_exp(x) - exact) / spacing)))
    below = np.array([smallest - 0.001, -1e3, -1e30, -np.inf], real)
    assert (_core._kernel_exp(below) == 0).all()
    assert _core._kernel_exp(np.zeros(1, real))[0] == 1
    assert (_core._kernel_exp(np.array([low, smallest + 0.001], real)) > 0).all()
    for n in (1, 2, 3, 7, 15, 16, 17, 31, 33):
        assert (_core._kernel_exp(x[:n]) == _core._kernel_exp(x)[:n]).all(), n
"""


@pytest.mark.parametrize("isa", available_sets())
def test_exp(isa):
    for error in output_of(EXP, NEARFAR_ISA=isa).split():
        assert float(error) < 1.25  # units in the last place


# ---- Configuration ----


def test_config():
    config = nf.show_config(mode="dicts")
    assert config["nearfar"] == nf.__version__
    assert config["numpy"] == np.__version__
    assert config["instruction_set"] in ALL_SETS
    assert config["threads"] == nf.get_num_threads()
    assert "OpenBLAS" in config["blas"]
    with pytest.raises(ValueError, match='mode must be "stdout" or "dicts", got "x"'.replace('"x"', "'x'")):
        nf.show_config(mode="x")


def test_show_config_prints(capsys, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Sandybridge")
    assert nf.show_config() is None
    printed = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert printed["threads"].strip() == str(nf.get_num_threads())
    assert printed["OPENBLAS_CORETYPE"].strip() == "Sandybridge"


@pytest.mark.parametrize("isa", available_sets())
def test_isa_can_be_forced(isa):
    assert output_of("import nearfar as nf; print(nf._core.config()['instruction_set'])", NEARFAR_ISA=isa) == isa


@pytest.mark.parametrize("isa", ["neon", "AVX2"])
def test_unknown_isa(isa):
    done = run_python("import nearfar", NEARFAR_ISA=isa)
    assert done.returncode == 1
    assert "ValueError: NEARFAR_ISA must name an instruction set that this machine has (best: " in done.stderr
    assert f'got "{isa}"' in done.stderr


def test_empty_variables_count_as_not_set():
    code = "import nearfar as nf; print(nf._core.config()['instruction_set'], nf.get_num_threads())"
    plain = output_of(code, NEARFAR_ISA=None, NEARFAR_NUM_THREADS=None, OMP_NUM_THREADS=None)
    assert output_of(code, NEARFAR_ISA="", NEARFAR_NUM_THREADS="", OMP_NUM_THREADS="") == plain


def test_our_openblas_is_not_numpys():
    np.ones((4, 4)) @ np.ones((4, 4))
    blas = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
    ours = [info for info in blas if "libscipy_openblas-nearfar" in info["filepath"]]
    numpys = [info for info in blas if "numpy.libs" in info["filepath"]]
    assert len(ours) == len(numpys) == 1
    assert ours[0]["num_threads"] == 1
    with threadpoolctl.threadpool_limits({Path(numpys[0]["filepath"]).stem.split(".")[0]: 1}):
        pass
    code = """
import numpy as np, nearfar, threadpoolctl
for info in threadpoolctl.threadpool_info():
    if info["user_api"] == "blas":
        print("nearfar" in info["filepath"], info["num_threads"])
"""
    lines = output_of(code, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS=None, NEARFAR_NUM_THREADS=None).splitlines()
    assert sorted(lines) == ["False 2", "True 1"]  # NumPy's own setting is left alone


# ---- Number of threads ----

THREADS = "import nearfar as nf; print(nf.get_num_threads())"


@pytest.mark.parametrize(
    ("ours", "openmp", "expected"),
    [
        ("3", "5", 3),
        (None, "5", 5),
        (None, "6,2", 6),
        ("65", None, 64),
        ("99999999999999999999", None, 64),
        ("", "1000", 64),
    ],
)
def test_threads_from_the_environment(ours, openmp, expected):
    assert output_of(THREADS, NEARFAR_NUM_THREADS=ours, OMP_NUM_THREADS=openmp) == str(expected)


@pytest.mark.parametrize("text", ["0", "2,3", "two"])
def test_bad_threads_in_the_environment(text):
    done = run_python(THREADS, NEARFAR_NUM_THREADS=text)
    assert done.returncode == 1
    assert f'ValueError: NEARFAR_NUM_THREADS must be a number >= 1, got "{text}"' in done.stderr


@pytest.mark.parametrize("text", [None, "many"])
def test_threads_from_the_affinity_mask(text):
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert output_of(one + THREADS, NEARFAR_NUM_THREADS=None, OMP_NUM_THREADS=text) == "1"
    expected = min(64, len(os.sched_getaffinity(0)))
    assert output_of(THREADS, NEARFAR_NUM_THREADS=None, OMP_NUM_THREADS=text) == str(expected)


@pytest.fixture
def threads():
    before = nf.get_num_threads()
    yield nf.set_num_threads
    nf.set_num_threads(before)


def test_set_num_threads(threads):
    for n in (1, 2, 64, np.int64(3), True):
        assert nf.set_num_threads(n) is None
        assert nf.get_num_threads() == n


@pytest.mark.parametrize("n", [0, -1, 65, 2**31, 2**70, -(2**70)])
def test_set_num_threads_out_of_range(threads, n):
    before = nf.get_num_threads()
    with pytest.raises(ValueError, match=rf"must be in 1\.\.64, got {n}"):
        nf.set_num_threads(n)
    assert nf.get_num_threads() == before


@pytest.mark.parametrize("n", [2.0, "2", None, [2]])
def test_set_num_threads_of_the_wrong_type(threads, n):
    with pytest.raises(TypeError):
        nf.set_num_threads(n)


def count_threads():
    return len(os.listdir("/proc/self/task"))


def test_the_pool_grows_and_shrinks(threads):
    v = np.random.default_rng(0).standard_normal((4000, 16)).astype(np.float32)
    threads(9)
    nf.measure.nearest_neighbors(v, v, 3)
    large = count_threads()
    threads(2)
    deadline = time.monotonic() + 10
    while count_threads() > large - 7 and time.monotonic() < deadline:
        nf.measure.nearest_neighbors(v, v, 3)
    assert count_threads() == large - 7


# ---- Several callers ----


def work(seed):
    v = np.random.default_rng(seed).standard_normal((700, 24)).astype(np.float32)
    indices, similarities = nf.measure.nearest_neighbors(v, v, 5)
    return indices.tobytes() + similarities.tobytes() + str(nf.measure.uniformity(v)).encode()


def test_several_python_threads_at_once(threads):
    threads(3)
    expected = [work(seed) for seed in range(8)]
    done = threading.Event()

    def change():
        n = 0
        while not done.is_set():
            n += 1
            nf.set_num_threads(1 + n % 5)
            time.sleep(0.0002)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(6):
                assert list(pool.map(work, range(8))) == expected
    finally:
        done.set()
        changer.join()


def test_errors_in_several_threads_keep_their_messages():
    v = np.ones((3, 2), np.float32)

    def fail(k):
        for _ in range(200):
            with pytest.raises(ValueError, match=rf"t must be finite and > 0, got -{k}$"):
                nf.measure.uniformity(v, t=-k)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fail, range(1, 9)))


FORKS = """
import os, sys
import numpy as np, nearfar as nf
nf.set_num_threads(4)
v = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float32)
def work():
    return nf.measure.nearest_neighbors(v, v, 3)[0].tobytes()
expected = work()
for i in range(300):
    child = os.fork()
    if child == 0:
        os._exit(0 if work() == expected and work() == expected else 1)
    if i % 3 == 0:
        assert work() == expected  # parent and child at once
    _, status = os.waitpid(child, 0)
    assert status == 0, (i, status)
print("done")
"""


def test_forks():
    assert output_of(FORKS, timeout=60) == "done"


FORK_BESIDE_A_BUSY_THREAD = """
import os, signal, threading
import numpy as np, nearfar as nf
nf.set_num_threads(4)
v = np.random.default_rng(0).standard_normal((3000, 32)).astype(np.float32)
stop = threading.Event()
def busy():
    while not stop.is_set():
        nf.measure.uniformity(v)
thread = threading.Thread(target=busy)
thread.start()
expected = nf.measure.nearest_neighbors(v[:500], v[:500], 3)[0].tobytes()
try:
    for i in range(300):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends one that hangs, with a status that says so
            os._exit(0 if nf.measure.nearest_neighbors(v[:500], v[:500], 3)[0].tobytes() == expected else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, (i, status)
finally:
    stop.set()
thread.join()
print("done")
"""


def test_forks_while_another_thread_has_the_pool():
    assert output_of(FORK_BESIDE_A_BUSY_THREAD, timeout=600) == "done"


FORK_IN_A_HANDLER = """
import os, signal
import numpy as np, nearfar as nf
nf.set_num_threads(4)
v = np.random.default_rng(0).standard_normal((12000, 64)).astype(np.float32)
children = []
def fork(number, frame):
    children.append(os.fork())
signal.signal(signal.SIGALRM, fork)
expected = nf.measure.uniformity(v[:2000])
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    nf.measure.uniformity(v)
    interrupted = False
except KeyboardInterrupt:
    interrupted = True
assert len(children) == 1
if children[0] == 0:  # the child has lost its workers in the middle of their tasks
    os._exit(0 if interrupted and nf.measure.uniformity(v[:2000]) == expected else 1)
assert not interrupted
assert os.waitpid(children[0], 0)[1] == 0
print("done")
"""


def test_fork_by_a_signal_handler_in_the_middle_of_a_job():
    assert output_of(FORK_IN_A_HANDLER, timeout=60) == "done"


# ---- Signals ----

INTERRUPT = """
import signal, time
import numpy as np, nearfar as nf
v = np.random.default_rng(0).standard_normal((100000, 64)).astype(np.float32)
def interrupt(number, frame):
    global sent
    sent = time.monotonic()
    signal.default_int_handler(number, frame)
signal.signal(signal.SIGALRM, interrupt)
for call in (lambda: nf.measure.uniformity(v), lambda: nf.measure.nearest_neighbors(v, v, 5)):
    start = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        call()
    except KeyboardInterrupt:
        print(time.monotonic() - start - 0.3)
"""


def test_ctrl_c_ends_an_operation_soon():
    delays = [float(line) for line in output_of(INTERRUPT, timeout=120).split()]
    assert len(delays) == 2
    assert max(delays) < 1.0  # 0.1 on a machine that does nothing else


HANDLER = """
import signal
import numpy as np, nearfar as nf
v = np.random.default_rng(0).standard_normal((12000, 32)).astype(np.float32)
small, products, values = np.float32(1e-38), [], []
def handler(number, frame):  # may be interrupted by itself
    products.append(float(small * np.float32(0.1)))
    values.append(nf.measure.uniformity(v[:500]))
signal.signal(signal.SIGALRM, handler)
expected = nf.measure.uniformity(v[:500])
signal.setitimer(signal.ITIMER_REAL, 0.03, 0.02)
first = nf.measure.uniformity(v)
signal.setitimer(signal.ITIMER_REAL, 0)
assert values
assert min(products) > 0, products
assert set(values) == {expected}, values
assert first == nf.measure.uniformity(v)
print("done")
"""


def test_signal_handlers_run_during_an_operation_with_their_own_float_state():
    assert output_of(HANDLER, timeout=120) == "done"


def test_operations_leave_the_callers_float_state(threads):
    threads(2)
    work(0)
    assert np.float32(1e-38) * np.float32(0.1) > 0
    np.testing.assert_array_equal(np.full(64, 1e-38, np.float32) * np.float32(0.1) > 0, True)


def test_exit_while_daemon_threads_work():
    code = """
import threading, time
import numpy as np, nearfar as nf
v = np.random.default_rng(0).standard_normal((100000, 64)).astype(np.float32)
for _ in range(3):
    threading.Thread(target=lambda: nf.measure.uniformity(v), daemon=True).start()
time.sleep(0.3)
"""
    for _ in range(5):  # products that run when the process ends must not lose OpenBLAS's buffers
        done = run_python(code, timeout=60)
        assert done.returncode == 0, done.stderr


# ---- References ----


def test_no_references_are_kept():
    float32 = np.ones((8, 4), np.float32)
    wrong = np.ones((8, 4), complex)
    vector, other, third = (np.ones(8, np.float32) for _ in range(3))
    labels = np.zeros(8, np.int64)
    arrays = [float32, wrong, vector, other, third, labels]
    indices, similarities = _core.knn_search(float32, float32, 2)
    calls = [
        lambda: _core.knn_search(float32, float32, 2),
        lambda: _core.knn_search(float32, float32, 0),
        lambda: _core.knn_search(float32, wrong, 2),
        lambda: _core.knn_search(float32, float32[:, :2], 2),
        lambda: _core.knn_vote(indices, similarities, labels, 1, 0.1),
        lambda: _core.knn_vote(indices, similarities, labels, 0, 0.1),
        lambda: _core.knn_vote(indices, similarities, vector, 1, 0.1),
        lambda: _core.uniformity(float32, 2.0),
        lambda: _core.uniformity(float32, -2.0),
        lambda: _core.sgd_step(vector, other, third, 0.1, 0.9, 0.0, False),
        lambda: _core.sgd_step(vector, other, third, -0.1, 0.9, 0.0, False),
        lambda: _core.sgd_step(vector, other, labels[:3], 0.1, 0.9, 0.0, False),
        lambda: _core.sgd_step(vector, vector, third, 0.1, 0.9, 0.0, False),
        lambda: _core.sgd_step(vector, labels, third, 0.1, 0.9, 0.0, False),
        lambda: _core.adamw_step(vector, other, third, None, 1, 0.1, 0.9, 0.9, 1e-8, 0.0),
        lambda: _core.lars_step(vector, other, third, labels, 0.1, 0.9, 0.0, False, 0.1, 0.0),
        lambda: _core.lars_step(vector, other, third, [[0, 8, 1]], 0.1, 0.9, 0.0, False, 0.1, 0.0),
        lambda: _core.lars_step(vector, other, third, [[0, 9, 1]], 0.1, 0.9, 0.0, False, 0.1, 0.0),
        lambda: _core.momentum_update(vector, other, 0.5),
        lambda: _core.momentum_update(vector, other, 5),
        lambda: _core._kernel_exp(vector),
        lambda: _core._kernel_exp(float32),
    ]
    for call in calls:
        before = [sys.getrefcount(array) for array in arrays]
        for _ in range(5):
            try:
                call()
            except (TypeError, ValueError):
                pass
        assert [sys.getrefcount(array) for array in arrays] == before


def test_results_are_aligned_and_their_memory_is_freed():
    indices, similarities = _core.knn_search(np.ones((50, 3)), np.ones((50, 3)), 3)
    for array in (indices, similarities):
        assert array.ctypes.data % 64 == 0
        assert array.flags.writeable
        assert array.flags.c_contiguous
    x = np.ones(2**20)
    _core._kernel_exp(x)

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    for _ in range(100):
        _core._kernel_exp(x)
    assert resident() - before < 100 * x.nbytes / 4


# ---- Without Python ----


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_c_harness(sanitizer, tmp_path):
    """The pool, random numbers, memory and messages under a sanitizer; see tests/c/core.c."""
    program, core = tmp_path / "core", HERE.parent / "csrc" / "core"
    sources = [HERE / "c" / "core.c", *(core / f"{name}.c" for name in ("threads", "random", "status", "memory"))]
    flags = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    compiler = os.environ.get("CC", "gcc").split()
    command = [*compiler, *flags, f"-fsanitize={sanitizer}", *sources, "-o", program, "-pthread", "-lm"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    env = os.environ | {"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "allocator_may_return_null=1"}
    env.pop("LD_PRELOAD", None)  # of a sanitizer for Python
    done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_module_can_be_loaded_without_symbols_of_its_own():
    """Nothing of the core is visible to other libraries in the process."""
    library = ctypes.CDLL(_core.__file__)
    assert hasattr(library, "PyInit__core")
    for name in ("nf_parallel", "nf_alloc", "nf_last_message", "nf_gemm_f32"):
        assert not hasattr(library, name)
