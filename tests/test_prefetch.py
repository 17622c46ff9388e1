"""Views made ahead of their step: the same training, bit for bit, and no thread left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import nearfar as nf
import numpy as np
import pytest
from nearfar import checkpoint
from nearfar.history import COLUMNS, History
from nearfar.prefetch import Prefetch

IMAGES = np.random.default_rng(7).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
AUGMENT = nf.transforms.SimCLR(8, scale=(0.5, 1), strength=0.5, grayscale=0, blur=0)


def make(seed=0):
    encoder = nf.convnet((4, 8), in_channels=1, seed=seed)
    return nf.SimCLR(encoder, nf.projection_head(8, 8, 6, batch_norm=True, seed=seed + 1), 0.2)


def fit(method, augment=AUGMENT, **more):
    return nf.fit(method, IMAGES, augment, **({"epochs": 3, "batch_size": 16, "progress": False} | more))


def state(method):
    return {name: tensor.tobytes() for name, tensor in checkpoint.network_tensors(method).items()}


def table(history):
    return {name: history[name].tolist() for name in COLUMNS if name != "images_per_second"}


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [thread.name for thread in threading.enumerate() if "prefetch" in thread.name]


class Stop(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits(threads):
    before = nf.get_num_threads()
    try:
        plain = make()
        wanted = fit(plain)
        nf.set_num_threads(threads)
        ahead = make()
        history = fit(ahead, prefetch=True)
    finally:
        nf.set_num_threads(before)
    assert table(history) == table(wanted) and state(ahead) == state(plain)


@pytest.mark.parametrize("how", [None, Stop(), KeyboardInterrupt()], ids=["stop", "error", "interrupt"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_resumed_is_uninterrupted(tmp_path, how, step):
    whole, part, rest = make(), make(), make(seed=99)
    wanted = fit(whole)

    def callback(history):
        if len(history["step"]) == step:
            if how is not None:
                raise how
            return True
        return None

    run = {"run_dir": tmp_path / "run", "checkpoint_seconds": 0, "prefetch": True}
    with contextlib.nullcontext() if how is None else pytest.raises(type(how)):
        fit(part, callback=callback, **run)
    history = fit(rest, resume=True, **run)
    assert state(rest) == state(whole) and table(history) == table(wanted)


def test_views_are_made_while_a_step_computes():
    """Step n does not end before the views of step n + 1 are begun; each step's are made once, in order."""
    begun, order = [threading.Event() for _ in range(7)], []

    def augment(images, *, seed, epoch, indices):
        begun[len(order)].set()
        order.append((epoch, indices.tolist(), threading.current_thread() is threading.main_thread()))
        return AUGMENT(images, seed=seed, epoch=epoch, indices=indices)

    class Method:
        def __init__(self, inner):
            self.inner, self.steps = inner, 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def step(self, views):
            self.steps += 1
            assert self.steps == 6 or begun[self.steps].wait(30)
            return self.inner.step(views)

    fit(Method(make()), augment, prefetch=True)
    assert not any(main for _, _, main in order)
    expected = [
        (epoch, nf.train.epoch_order(40, 0, epoch)[16 * batch : 16 * batch + 16].tolist())
        for epoch in range(3)
        for batch in range(2)
    ]
    assert [(epoch, indices) for epoch, indices, _ in order] == expected


@pytest.mark.parametrize("prefetch", [False, True])
def test_errors_come_in_their_step(tmp_path, prefetch):
    """An error in the views of step 4 leaves three whole steps, as without a thread."""
    calls = []

    def augment(images, **where):
        calls.append(where["epoch"])
        if len(calls) == 4:
            raise Stop("in a recipe")
        return AUGMENT(images, **where)

    method, wanted = make(), make()
    with pytest.raises(Stop, match="in a recipe"):
        fit(method, augment, prefetch=prefetch, run_dir=tmp_path, checkpoint_seconds=0)
    fit(wanted, callback=lambda history: len(history["step"]) == 3)
    assert state(method) == state(wanted)
    assert len(History.read(tmp_path / "log.csv")["step"]) == 3


def test_ctrl_c_saves_and_raises(tmp_path):
    method, whole = make(), make()
    fit(whole)

    def press(history):
        if len(history["step"]) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(method, run_dir=tmp_path, callback=press, prefetch=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(method, run_dir=tmp_path, resume=True, prefetch=True)
    assert state(method) == state(whole)


def test_ctrl_c_ends_a_process_soon():
    """While views are being made on the thread, and the main thread waits for them."""
    code = """
        import time
        import nearfar as nf, numpy as np
        images = np.zeros((64, 8, 8, 1), np.uint8)
        recipe = nf.transforms.SimCLR(8, blur=0, grayscale=0)
        def augment(images, **where):
            print("making", flush=True)
            time.sleep(0.3)
            return recipe(images, **where)
        encoder = nf.convnet((4,), in_channels=1)
        method = nf.SimCLR(encoder, nf.projection_head(4, 4, 4))
        nf.fit(method, images, augment, epochs=1000, batch_size=32, progress=False, prefetch=True)
    """
    environment = dict(os.environ, PYTHONPATH=str(Path(nf.__file__).parent.parent))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "making\n"
    time.sleep(0.1)
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert time.monotonic() - pressed < 20 and "KeyboardInterrupt" in error


@pytest.mark.parametrize("ahead", [False, True])
def test_results_in_order(ahead):
    for first, end in ((0, 5), (3, 4), (2, 2)):
        with Prefetch(lambda step: step * 10, first, end, ahead) as results:
            assert [results.take() for _ in range(first, end)] == [step * 10 for step in range(first, end)]
