"""Training: the loop against one written out by hand, exact resumption, checkpoints that are whole at any moment."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nearfar as nf
import numpy as np
import pytest
from nearfar import checkpoint, train
from nearfar.history import COLUMNS, History
from nearfar.methods import mean_cosines

IMAGES = np.random.default_rng(7).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
AUGMENT = nf.transforms.SimCLR(8, scale=(0.5, 1), flip=0.5, strength=0.5, grayscale=0, blur=0, mean=(0.5,), std=(0.25,))


def make(seed=0, widths=(4, 8), **more):
    encoder = nf.convnet(widths, in_channels=1, seed=seed)
    head = nf.projection_head(widths[-1], 8, 6, batch_norm=True, seed=seed + 1)
    return nf.SimCLR(encoder, head, 0.2, **more)


def fit(method, **more):
    arguments = {"epochs": 3, "batch_size": 16, "progress": False} | more
    return nf.fit(method, IMAGES, AUGMENT, **arguments)


def state(method):
    return {name: tensor.tobytes() for name, tensor in checkpoint.network_tensors(method).items()}


class Stop(Exception):
    pass


def stopper(step, how=None):
    def callback(history):
        if history["step"][-1] == step:
            if how is not None:
                raise how
            return True
        return None

    return callback


# ---- the loop ----


def test_more_than_two_views_by_recipes_of_their_own():
    plain = nf.transforms.SimCLR(8, scale=(1, 1), flip=0, jitter=0, grayscale=0, blur=0, mean=(0.5,), std=(0.25,))
    augment = nf.transforms.MultiView([AUGMENT.operations, plain.operations, AUGMENT.operations])
    method, twin = make(), make()
    history = nf.fit(method, IMAGES, augment, epochs=1, batch_size=16, progress=False)
    optimizer = nf.AdamW(twin.trained, lr=2e-3, weight_decay=1e-4)
    steps = len(history["loss"])
    schedule = nf.cosine_schedule(2e-3, steps, steps // 10)
    order = train.epoch_order(len(IMAGES), 0, 0)
    for step in range(steps):
        indices = order[step * 16 : (step + 1) * 16]
        views = augment(IMAGES[indices], seed=0, epoch=0, indices=indices)
        assert views.shape == (3, 16, 8, 8, 1)
        assert twin.step(views).loss == history["loss"][step]
        optimizer.step(schedule(step))
    assert state(method) == state(twin)


def test_views_of_several_sizes_are_refused():
    large, small = (nf.transforms.SimCLR(size, grayscale=0, jitter=0, blur=0) for size in (8, 6))
    augment = nf.transforms.MultiView([large.operations, small.operations])
    with pytest.raises(ValueError, match="views must be one array, of views of one size, got a list"):
        nf.fit(make(), IMAGES, augment, epochs=1, progress=False)


@pytest.mark.parametrize("groups", [1, 2])
def test_fit_is_the_loop_written_out(groups):
    method, twin = make(groups=groups), make(groups=groups)
    history = fit(method, seed=5)

    optimizer = nf.AdamW([twin.encoder, twin.head], lr=2e-3, weight_decay=1e-4)
    schedule = nf.cosine_schedule(2e-3, 6, 0)
    losses = []
    for epoch in range(3):
        order = np.random.default_rng([5, epoch]).permutation(40)
        for batch in range(2):
            rows = order[16 * batch : 16 * batch + 16]
            views = AUGMENT(IMAGES[rows], seed=5, epoch=epoch, indices=rows)
            v = twin.encoder.forward(views.reshape(32, 8, 8, 1), training=True, groups=groups)
            z = twin.head.forward(v, training=True, groups=groups)
            loss, d_z = nf.nt_xent(z.reshape(2, 16, 6), temperature=0.2)
            d_v = twin.head.backward(d_z.reshape(32, 6), input_gradient=True)
            twin.encoder.backward(d_v)
            optimizer.step(schedule(len(losses)))
            losses.append(loss)
    assert history["loss"].tolist() == losses
    assert state(method) == state(twin)


def test_history():
    seen = []
    history = fit(make(), callback=lambda history: seen.append(history["step"][-1]))
    assert tuple(history) == COLUMNS and seen == [1, 2, 3, 4, 5, 6]
    assert history["epoch"].tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(history["chance_level"], np.log(31))
    np.testing.assert_allclose(history["learning_rate"], [nf.cosine_schedule(2e-3, 6, 0)(s) for s in range(6)])
    assert (history["images_per_second"] > 0).all()
    assert "6 steps" in repr(history)
    with pytest.raises(KeyError, match="no column 'lost'"):
        history["lost"]


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 1, 3), (3, 4, 2), (2, 7, 1)])
def test_mean_cosines_against_all_pairs(shape):
    z = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    z[0, 0] = 0  # a row without a direction has cosine 0 with all
    samples = shape[1]
    unit = (z / np.maximum(np.linalg.norm(z, axis=2, keepdims=True), 1e-30)).astype(np.float64)
    cosines = np.einsum("vnd,wmd->vnwm", unit, unit)
    v, n, w, m = np.indices(cosines.shape)
    positive, negative = mean_cosines(z)
    np.testing.assert_allclose(positive, cosines[(n == m) & (v != w)].mean(), atol=1e-6)
    if samples > 1:
        np.testing.assert_allclose(negative, cosines[n != m].mean(), atol=1e-6)
    else:
        assert np.isnan(negative)


def test_training_learns_and_does_not_collapse():
    data = nf.data.digits()
    method = nf.SimCLR(nf.convnet((16, 32), in_channels=1), nf.projection_head(32, 32, 16), temperature=0.2)
    augment = nf.transforms.SimCLR(
        8, scale=(0.5, 1), flip=0, strength=0.5, grayscale=0, blur=0, mean=(0.3,), std=(0.38,)
    )
    history = nf.fit(method, data.images, augment, epochs=12, progress=False)
    assert history["loss"][-5:].mean() < history["chance_level"][-1] - 1
    assert history["positive_cosine"][-1] > history["negative_cosine"][-1] + 0.5
    found = nf.evaluate(method, data)
    rows = {row.name: row for row in found.rows}
    assert rows["features v"].knn > rows["same encoder, untrained"].knn
    assert rows["features v"].knn > 0.9 and rows["features v"].linear > 0.9
    assert found.std_of_z > 1 / (4 * np.sqrt(16)) and found.effective_rank > 5
    assert "WORSE" not in str(found)


def test_schedule_optimizer_and_early_stop():
    method = make()
    optimizer = nf.SGD(method.trained, lr=0.1)
    history = fit(method, optimizer=optimizer, schedule=lambda step: 0.25 / (step + 1), callback=stopper(4))
    np.testing.assert_allclose(history["learning_rate"], [0.25, 0.125, 0.25 / 3, 0.0625])
    assert optimizer.steps == 4


def test_a_batch_larger_than_the_data_is_all_of_it():
    history = fit(make(), batch_size=1000, epochs=2)
    assert history["step"].tolist() == [1, 2]
    np.testing.assert_allclose(history["chance_level"], np.log(79))


def test_transform_does_not_depend_on_batches():
    method = make()
    with pytest.raises(ValueError, match="augment must be given"):
        method.transform(IMAGES)
    v = method.transform(IMAGES, AUGMENT)
    assert v.shape == (40, 8) and v.dtype == np.float32
    np.testing.assert_allclose(method.transform(IMAGES, AUGMENT, batch_size=7), v, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(v, method.encoder.forward(AUGMENT.plain(IMAGES)), rtol=1e-5, atol=1e-6)
    assert method.transform(IMAGES[:0], AUGMENT).shape == (0, 8)
    assert method.embed(IMAGES, AUGMENT).shape == (40, 6)
    for images, error, message in (
        (IMAGES / 255, TypeError, "images must be uint8, uint16 or float32, got float64"),
        (IMAGES[..., 0], ValueError, r"images must be \(N, H, W, 1\)"),
        (np.repeat(IMAGES, 3, axis=3), ValueError, r"images must be \(N, H, W, 1\), got shape \(40, 8, 8, 3\)"),
    ):
        with pytest.raises(error, match=message):
            method.transform(images, AUGMENT)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be >= 1, got 0"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"warmup_steps": -1}, ValueError, "warmup_steps must be >= 0, got -1"),
        ({"seed": -1}, ValueError, "seed must be >= 0, got -1"),
        ({"resume": True}, ValueError, "run_dir must be given"),
        ({"resume": True, "run_dir": "nowhere"}, FileNotFoundError, "run_dir nowhere"),
    ],
)
def test_fit_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        fit(make(), **arguments)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (IMAGES / 255.0, TypeError),
        (IMAGES[0], ValueError),
        (IMAGES[:0], ValueError),
        (np.repeat(IMAGES, 3, 3), ValueError),
    ],
)
def test_fit_refuses_images(images, error):
    with pytest.raises(error, match="images must be"):
        nf.fit(make(), images, AUGMENT, epochs=1, progress=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, 2), TypeError, "encoder must be a Network, got int"),
        ((nf.projection_head(8, 8, 8), nf.projection_head(8, 8, 8)), ValueError, "encoder must take images"),
        ((nf.convnet((4, 8)), nf.projection_head(4, 8, 8)), ValueError, "head must take the encoder's 8 features"),
        ((nf.convnet((4, 8)), nf.projection_head(8, 8, 8), -1), ValueError, "temperature must be > 0, got -1"),
        (
            (nf.convnet((4, 8)), nf.projection_head(8, 8, 8), float("nan")),
            ValueError,
            "temperature must be > 0, got nan",
        ),
    ],
)
def test_simclr_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        nf.SimCLR(*arguments)


def test_groups_must_fit_the_views():
    with pytest.raises(ValueError, match="groups must be >= 1, got 0"):
        make(groups=0)
    with pytest.raises(ValueError, match="groups must be 1 or the number of views, 2, got 3"):
        fit(make(groups=3))


def test_divergence_is_an_error_and_the_checkpoint_stays_good(tmp_path):
    method = make()
    with pytest.raises(FloatingPointError, match="training has diverged"):
        fit(
            method, optimizer=nf.SGD(method.trained, lr=1e38), epochs=20, run_dir=tmp_path / "run", checkpoint_seconds=0
        )
    if (tmp_path / "run" / "checkpoint.safetensors").exists():
        assert np.isfinite(nf.load(tmp_path / "run").encoder.parameters).all()


# ---- the same bits ----


def test_threads_do_not_matter():
    before = nf.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            nf.set_num_threads(threads)
            method = make(widths=(8, 16, 24))
            history = fit(method)
            results.append((state(method), history["loss"].tolist(), method.transform(IMAGES).tobytes()))
    finally:
        nf.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("make_optimizer", [nf.AdamW, nf.SGD, nf.LARS])
@pytest.mark.parametrize("how", [None, Stop(), KeyboardInterrupt()], ids=["stop", "error", "interrupt"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_resumed_is_uninterrupted(tmp_path, make_optimizer, how, step):
    """Stopped in the middle of an epoch, at the end of one, and one step before the end."""
    whole, part, rest = make(), make(), make(seed=99)  # other initial weights: all must come from the checkpoint
    wanted = fit(whole, optimizer=make_optimizer(whole.trained, lr=0.01))
    run = {"run_dir": tmp_path / "run", "checkpoint_seconds": 0}
    with contextlib.nullcontext() if how is None else pytest.raises(type(how)):
        fit(part, optimizer=make_optimizer(part.trained, lr=0.01), callback=stopper(step, how), **run)
    history = fit(rest, optimizer=make_optimizer(rest.trained, lr=0.01), resume=True, **run)
    assert state(rest) == state(whole)
    for column in set(COLUMNS) - {"images_per_second"}:
        assert history[column].tolist() == wanted[column].tolist()
        assert History.read(tmp_path / "run" / "log.csv")[column].tolist() == wanted[column].tolist()
    assert state(nf.load(tmp_path / "run")) == state(whole)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    method = make()
    fit(method, run_dir=tmp_path)
    again = make(seed=3)
    history = fit(again, run_dir=tmp_path, resume=True)
    assert state(again) == state(method) and len(history["step"]) == 6


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    """A kill leaves a log that is ahead of the checkpoint, and may end within a row."""
    whole, part, rest = make(), make(), make()
    fit(whole)
    fit(part, run_dir=tmp_path, callback=stopper(3))
    with open(tmp_path / "log.csv", "a") as log:
        log.write("4,1,1.5,0.1,10.0,0.5,0.5,3.4\n5,2,1.")
    (tmp_path / ".checkpoint.safetensors.tmp").write_bytes(b"half a checkpo")
    history = fit(rest, run_dir=tmp_path, resume=True)
    assert history["step"].tolist() == [1, 2, 3, 4, 5, 6] and state(rest) == state(whole)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "training.seed was 0, got 1"),
        ({"epochs": 4}, "training.epochs was 3, got 4"),
        ({"batch_size": 20}, "training.batch_size was 16, got 20"),
        ({"augment": nf.transforms.SimCLR(8, mean=(0.5,), std=(0.25,))}, r"augment\.\w+(\[0\])? was"),
        ({"method": make(widths=(4, 8, 8))}, r"networks\.encoder"),
        ({"method": make(groups=2)}, "method.groups was 1, got 2"),
        ({"images": IMAGES[::-1]}, "training.data"),
        ({"optimizer": nf.SGD}, "optimizer.name was AdamW, got SGD"),
        ({"optimizer": nf.AdamW}, "optimizer.lr was 0.002, got 0.1"),
    ],
)
def test_resume_names_what_differs(tmp_path, change, message):
    fit(make(), run_dir=tmp_path, callback=stopper(3))
    method = change.pop("method", None) or make()
    if "optimizer" in change:
        change["optimizer"] = change["optimizer"](method.trained, lr=0.1)
    arguments = {"epochs": 3, "batch_size": 16, "progress": False, "run_dir": tmp_path, "resume": True} | change
    before = state(method), (tmp_path / "checkpoint.safetensors").read_bytes()
    images, augment = arguments.pop("images", IMAGES), arguments.pop("augment", AUGMENT)
    with pytest.raises(ValueError, match=f"resume must have the arguments of the run.*{message}"):
        nf.fit(method, images, augment, **arguments)
    assert before == (state(method), (tmp_path / "checkpoint.safetensors").read_bytes())


def test_a_run_is_never_overwritten(tmp_path):
    fit(make(), run_dir=tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="holds a run already"):
        fit(make(), run_dir=tmp_path)
    assert files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_two_processes_cannot_share_a_run(tmp_path):
    def inner(history):
        with pytest.raises(BlockingIOError, match="another process is training"):
            fit(make(), run_dir=tmp_path, resume=True)
        return True

    fit(make(), run_dir=tmp_path, callback=inner)


def test_config(tmp_path):
    fit(make(), run_dir=tmp_path, config={"mine": 1})
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["method"] == {"name": "simclr", "temperature": 0.2, "groups": 1}
    assert config["augment"]["recipe"] == "SimCLR" and config["augment"]["scale"] == [0.5, 1]
    assert config["optimizer"]["name"] == "AdamW" and config["options"] == {"mine": 1}
    assert config["training"]["batch_size"] == 16


# ---- checkpoints ----


def test_save_and_load(tmp_path):
    method = make(groups=2)
    fit(method)
    nf.save(method, tmp_path / "m.safetensors")
    loaded = nf.load(tmp_path / "m.safetensors")
    assert state(loaded) == state(method)
    assert (loaded.temperature, loaded.groups, loaded.augment) == (0.2, 2, AUGMENT)
    np.testing.assert_array_equal(loaded.transform(IMAGES), method.transform(IMAGES))
    resnet = nf.SimCLR(nf.resnet(18, width=4, in_channels=1), nf.projection_head(32, 8, 6, layers=3))
    nf.save(resnet, tmp_path / "m.safetensors")
    assert state(nf.load(tmp_path / "m.safetensors")) == state(resnet)
    with pytest.raises(ValueError, match="holds no training to resume"):
        (tmp_path / "m.safetensors").rename(tmp_path / "checkpoint.safetensors")
        fit(make(), run_dir=tmp_path, resume=True)


class OwnRecipe:
    """A recipe that is not of nearfar.transforms."""

    def __call__(self, images, seed, epoch, indices):
        noise = np.random.default_rng([seed, epoch]).normal(size=(2, *images.shape))
        return (images / 255 + noise).astype(np.float32)

    def plain(self, images):
        return (images / 255).astype(np.float32)


def test_a_recipe_of_ones_own(tmp_path):
    method = make()
    nf.fit(method, IMAGES, OwnRecipe(), epochs=1, progress=False, run_dir=tmp_path)
    loaded = nf.load(tmp_path)
    assert loaded.augment is None
    np.testing.assert_array_equal(loaded.transform(IMAGES, OwnRecipe()), method.transform(IMAGES))


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    nf.save(make(), path)
    content, random = path.read_bytes(), np.random.default_rng(1)
    damaged = [content[:cut] for cut in (0, 1, 8, 100, len(content) // 2, len(content) - 1)]
    for place in random.integers(0, len(content), 150):
        flipped = bytearray(content)
        flipped[place] ^= 1 << random.integers(8)
        damaged.append(bytes(flipped))
    for bad in damaged:
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"m\.safetensors: "):
            nf.load(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        nf.load(tmp_path / "nowhere")


def test_foreign_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"conv1.weight": np.zeros((2, 2), np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="not a checkpoint of nearfar"):
        nf.load(tmp_path / "a.safetensors")
    description = {"format": 1, **checkpoint.describe_method(make())}
    tensors = checkpoint.network_tensors(make())
    for change, message in (
        ({"format": 99}, "has format 99"),
        ({"method": {"name": "nothing"}}, "can't build"),
        ({"method": None}, "can't build"),
        ({"networks": {"encoder": description["networks"]["encoder"]}}, "can't build"),
        ({"networks": {}}, "can't build"),
        ({"augment": {"recipe": "SimCLR", "size": -3}}, "can't build"),
        (
            {"networks": description["networks"] | {"head": {"in_shape": [8], "layers": [{"layer": "os"}]}}},
            "can't build",
        ),
        ({"networks": checkpoint.describe_method(make(widths=(6, 8)))["networks"]}, "the encoder does not fit"),
    ):
        checkpoint.write_checkpoint(tmp_path / "b.safetensors", tensors, description | change)
        with pytest.raises(ValueError, match=message):
            nf.load(tmp_path / "b.safetensors")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"safetensors is needed .*pip install 'nearfar\[train\]'"):
        fit(make(), run_dir=tmp_path / "run")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    code = """
        import resource, signal, sys, numpy as np
        from nearfar.checkpoint import write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        write_atomically(sys.argv[1], b"old" * 1000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            write_atomically(sys.argv[1], b"new" * 10000)
        except OSError as error:
            print(error)
    """
    result = run_python(code, tmp_path / "file")
    assert "File too large" in result.stdout and result.returncode == 0
    assert (tmp_path / "file").read_bytes() == b"old" * 1000 and len(list(tmp_path.iterdir())) == 1


def run_python(code, *arguments, **more):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def write_for_ever(path, number, ready):
    ready.set()
    while True:
        number += 1
        tensors = {"a": np.full(500_000, number, np.float32)}
        checkpoint.write_checkpoint(path, tensors, {"format": 1, "number": number})


def test_a_kill_while_writing_leaves_the_old_or_the_new(tmp_path):
    """Kill -9 at moments spread over the writing of checkpoints, of which each holds one number all over."""
    path, random, number = tmp_path / "c.safetensors", np.random.default_rng(0), 0
    fork = multiprocessing.get_context("fork")
    for _ in range(40):
        ready = fork.Event()
        process = fork.Process(target=write_for_ever, args=(path, number, ready))
        process.start()
        assert ready.wait(30)
        time.sleep(0.05 * random.random())
        process.kill()
        process.join()
        if path.exists():
            tensors, description = checkpoint.read_checkpoint(path)
            assert description["number"] >= number and (tensors["a"] == description["number"]).all()
            number = description["number"]
    assert number > 0


def test_ctrl_c_ends_the_step_saves_and_raises(tmp_path):
    method, whole = make(), make()
    fit(whole)

    def press(history):
        if history["step"][-1] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(method, run_dir=tmp_path, callback=press)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(History.read(tmp_path / "log.csv")["step"]) in (3, 4)
    fit(method, run_dir=tmp_path, resume=True)
    assert state(method) == state(whole)


def test_ctrl_c_in_the_last_step_is_not_swallowed():
    def press(history):
        if history["step"][-1] == 6:
            os.kill(os.getpid(), signal.SIGINT)

    method = make()
    with pytest.raises(KeyboardInterrupt):
        fit(method, callback=press)


def test_epoch_order():
    a, b = train.epoch_order(1000, 3, 0), train.epoch_order(1000, 3, 1)
    assert sorted(a) == list(range(1000)) and (a != b).any() and (a == train.epoch_order(1000, 3, 0)).all()


# ---- plots and tables ----


def test_plots(tmp_path):
    data = nf.data.digits().subset(60)
    method = make()
    history = nf.fit(method, data.images, AUGMENT, epochs=3, batch_size=16, progress=False)
    title = "A title"
    figure = nf.plot.report(method, data, history, title=title)
    figure.savefig(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"
    loss, views, embedding = figure.axes
    assert loss.get_xlabel() == "step" and loss.get_ylabel() == "loss (nats)"
    assert [text.get_text() for text in views.get_xticklabels()] == ["image", "view 1", "view 2"]
    assert len(embedding.get_legend().get_texts()) == 10


def test_plots_touch_no_global_state():
    code = """
        import sys, numpy as np, nearfar as nf
        nf.plot.embedding_map(np.eye(4))
        assert "matplotlib.pyplot" not in sys.modules
    """
    assert run_python(code).returncode == 0


@pytest.mark.parametrize("rows", [2, 3, 30])
def test_maps_of_few_or_equal_features(tmp_path, rows):
    v = np.random.default_rng(0).normal(size=(rows, 5))
    nf.plot.embedding_map(v).savefig(tmp_path / "a.png")
    nf.plot.embedding_map(np.ones((rows, 5)), np.zeros(rows, int)).savefig(tmp_path / "a.png")
    nf.plot.embedding_map(v[:, :1]).savefig(tmp_path / "a.png")
    nf.plot.embedding_map(v, np.arange(rows) + 100).savefig(tmp_path / "a.png")
    with pytest.raises(ValueError, match="labels must have shape"):
        nf.plot.embedding_map(v, np.zeros(rows + 1, int))


def test_views_of_colour_images_of_another_size():
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 13, 3), dtype=np.uint8)
    nf.plot.views(images, nf.transforms.SimCLR(8), count=5)
    with pytest.raises(ValueError, match="images must be uint8, uint16 or float32"):
        nf.plot.views(images / 255, nf.transforms.SimCLR(8))


def test_evaluation_says_when_training_did_harm():
    row = nf.evaluation.Row
    rows = (row("features v", 8, 0.5, 0.9, 0.5), row("same encoder, untrained", 8, 0.6, 0.8, 0.5))
    found = nf.evaluation.Evaluation(rows, 0.1, 64, 5.0, 20, (10, 5))
    assert (
        "WORSE than the untrained encoder's by the kNN probe (kNN -10.0, linear +10.0, few-label +0.0 points)"
        in str(found)
    )
    assert "50.0 %" in str(found) and "effective rank of v 5.0 of 8" in str(found)


def test_evaluation_without_labels_and_with_bad_arguments():
    method = make()
    fit(method)
    data = nf.data.arrays(IMAGES)
    found = nf.evaluate(method, data)
    assert "No labels" in str(found) and len(found.rows) == 1
    assert len(nf.evaluate(method, nf.data.arrays(IMAGES, np.zeros(40, int))).rows) == 1  # a single class
    by_class = nf.data.arrays(IMAGES, np.arange(40) // 20)
    found = nf.evaluate(method, by_class, limit=5)
    assert len(found.rows) == 4 and found.counts == (5, 5)
    for arguments, message in (({"k": 0}, "k must be >= 1, got 0"), ({"limit": 1}, "limit must be >= 2, got 1")):
        with pytest.raises(ValueError, match=message):
            nf.evaluate(method, data, **arguments)


def test_log_is_readable_by_others(tmp_path):
    fit(make(), run_dir=tmp_path)
    table = np.genfromtxt(Path(tmp_path) / "log.csv", delimiter=",", names=True)
    assert table.dtype.names == COLUMNS and len(table) == 6
    (tmp_path / "log.csv").write_text("something else\n")
    with pytest.raises(ValueError, match="not a training log"):
        fit(make(), run_dir=tmp_path, resume=True)
