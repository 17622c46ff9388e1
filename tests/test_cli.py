"""The command line: what it writes, how it says no, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nearfar as nf
import numpy as np
import pytest
from nearfar.cli import main

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(nf.__file__).parent.parent)}  # whatever the working directory is

SMALL = ["--limit", "300", "--epochs", "2", "--batch-size", "64", "--width", "4", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", *SMALL, "--run-dir", str(folder)]) == 0
    return folder


def refuses(capsys, arguments, *texts):
    """The command ends with status 2 and one line on stderr that has the texts."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("nearfar") and ": error: " in error
    assert len(error.splitlines()) == 1
    for text in texts:
        assert str(text) in error


def test_train_writes_a_run(run):
    assert {path.name for path in run.iterdir()} >= {
        "config.json",
        "log.csv",
        "checkpoint.safetensors",
        "report.png",
        "evaluation.txt",
    }
    config = json.loads((run / "config.json").read_text())
    assert config["options"]["batch_size"] == 64 and config["options"]["data"] == "digits"
    assert len((run / "log.csv").read_text().splitlines()) == 1 + 2 * 4
    table = (run / "evaluation.txt").read_text()
    for text in (
        "features v",
        "raw pixels",
        "PCA",
        "untrained",
        "kNN",
        "linear",
        "std of normalised z",
        "effective rank",
    ):
        assert text in table
    assert nf.load(run).encoder.out_features == 16


def test_train_says_what_it_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL[:-1]]) == 0  # with the progress bar
    assert main(["train", *SMALL, "--no-report"]) == 0
    assert not (tmp_path / "runs" / "simclr-digits-2" / "report.png").exists()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["simclr-digits-1", "simclr-digits-2"]
    captured = capsys.readouterr()
    for text in (
        "300 training and 355 test images, 8x8x1",
        "convnet",
        "runs/simclr-digits-2",
        "chance level",
        "raw pixels",
    ):
        assert text in captured.out
    for text in ("epoch 2/2", "loss", "images/s", "left"):
        assert text in captured.err


def test_all_options_together(tmp_path):
    options = "--scale 0.3 0.9 --flip 0.1 --jitter 0.2 --strength 0.4 --grayscale 0 --blur 0.1 --mean 0.286 --std 0.353"
    options += (
        " --size 12 --encoder resnet18 --stem small --head-hidden 20 --head-out 10 --head-layers 3 --head-batch-norm"
    )
    options += " --optimizer sgd --lr 0.01 --weight-decay 0.001 --warmup-steps 3 --temperature 0.5 --groups 2 --seed 4"
    options += " --threads 1 --k 5 --probe-limit 100 --checkpoint-seconds 0"
    before = nf.get_num_threads()
    try:
        assert main(["train", *SMALL, "--epochs", "1", *options.split(), "--run-dir", str(tmp_path / "run")]) == 0
    finally:
        nf.set_num_threads(before)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["augment"]["scale"] == [0.3, 0.9] and config["augment"]["mean"] == [0.286]
    assert config["method"] == {"name": "simclr", "temperature": 0.5, "groups": 2}
    assert config["optimizer"]["name"] == "SGD" and config["optimizer"]["weight_decay"] == 0.001
    assert config["training"]["warmup_steps"] == 3 and config["training"]["seed"] == 4


def test_embed(run, tmp_path, capsys):
    out = tmp_path / "v.npy"
    assert main(["embed", str(run), "--data", "digits", "--out", str(out)]) == 0
    v = np.load(out)
    assert v.shape == (1797, 16) and v.dtype == np.float32
    np.testing.assert_array_equal(v, nf.load(run).transform(nf.data.digits(split=False).images))
    refuses(capsys, ["embed", run, "--out", out], "--out", out)
    np.testing.assert_array_equal(np.load(out), v)
    refuses(capsys, ["embed", run, "--out", tmp_path / "w.npy", "--part", "test"], "no test part")
    refuses(capsys, ["embed", run, "--out", tmp_path / "none" / "w.npy"], tmp_path / "none")
    np.save(tmp_path / "colour.npy", np.zeros((6, 8, 8, 3), np.uint8))
    refuses(capsys, ["embed", run, "--data", f"npy:{tmp_path}/colour.npy", "--out", tmp_path / "w.npy"], "(N, H, W, 1)")
    assert not (tmp_path / "w.npy").exists()


def test_evaluate(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "raw pixels" in printed
    assert main(["evaluate", str(run / "checkpoint.safetensors"), "--data", "digits", "--k", "3"]) == 0
    assert "k=3" in capsys.readouterr().out


def test_resume_of_a_finished_run_reports_again(run, capsys):
    checkpoint = (run / "checkpoint.safetensors").read_bytes()
    (run / "report.png").unlink()
    assert main(["train", "--resume", str(run), "--quiet"]) == 0
    assert (run / "report.png").exists() and (run / "checkpoint.safetensors").read_bytes() == checkpoint


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ([], ["COMMAND"]),
        (["tarin"], ["tarin"]),
        (["train", "--epochs", "0"], ["--epochs", "'0'", ">= 1"]),
        (["train", "--epochs", "two"], ["--epochs", "'two'"]),
        (["train", "--epochs"], ["--epochs"]),
        (["train", "--batch-size", "-4"], ["--batch-size", "'-4'"]),
        (["train", "--lr", "nan"], ["--lr", "'nan'"]),
        (["train", "--temperature", "0"], ["--temperature", "'0'", "> 0"]),
        (["train", "--flip", "1.5"], ["--flip", "'1.5'", "0..1"]),
        (["train", "--scale", "0.9", "0.3"], ["scale", "0.9"]),
        (["train", "--std", "0"], ["--std", "'0'"]),
        (["train", "--mean", "0.1", "0.2"], ["mean", "[0.1, 0.2]"]),
        (["train", "--encoder", "vgg"], ["--encoder", "vgg"]),
        (["train", "--groups", "3"], ["--groups", "3"]),
        (["train", "--threads", "1000"], ["--threads", "'1000'"]),
        (["train", "--data", "mnist"], ["source", "'mnist'"]),
        (["train", "--data", "fashion-mnist:nowhere"], ["nowhere", "apt install dataset-fashion-mnist"]),
        (["train", "--data", "npy:nowhere.npy"], ["nowhere.npy"]),
        (["train", "--data", "cifar10:nowhere"], ["nowhere", "cifar-10-binary.tar.gz"]),
        (["train", "--data", "folder:nowhere"], ["nowhere"]),
        (["train", "--nothing"], ["--nothing"]),
        (["train", "--resume", "nowhere"], ["nowhere"]),
        (["train", "--resume", "nowhere", "--epochs", "3"], ["--resume", "--epochs"]),
        (["embed", "nowhere", "--out", "v.npy"], ["RUN nowhere"]),
        (["embed", "nowhere"], ["--out"]),
        (["evaluate", "nowhere"], ["RUN nowhere"]),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, arguments, texts):
    monkeypatch.chdir(tmp_path)
    refuses(capsys, arguments, *texts)
    assert not list(tmp_path.iterdir())


def test_damaged_data(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((20, 8, 8), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-1])
    refuses(capsys, ["train", "--data", f"npy:{tmp_path}/a.npy"], tmp_path / "a.npy", "truncated")
    (tmp_path / "a.npy").write_bytes(b"x" + content[1:])
    refuses(capsys, ["train", "--data", f"npy:{tmp_path}/a.npy"], tmp_path / "a.npy", "magic number")


def test_a_finished_run_is_not_overwritten(run, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    refuses(capsys, ["train", *SMALL, "--run-dir", run], run, "holds a run already")
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}


def test_unwritable_run_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    refuses(capsys, ["train", *SMALL, "--run-dir", tmp_path / "file" / "run"], tmp_path / "file")
    refuses(capsys, ["train", *SMALL, "--run-dir", "/proc/nowhere/run"], "/proc/nowhere")


def test_damaged_runs(run, tmp_path, capsys):
    for name in ("config.json", "log.csv", "checkpoint.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    checkpoint, config = ((tmp_path / name).read_bytes() for name in ("checkpoint.safetensors", "config.json"))
    (tmp_path / "checkpoint.safetensors").write_bytes(checkpoint[:-1])
    for command in (
        ["train", "--resume", tmp_path],
        ["evaluate", tmp_path],
        ["embed", tmp_path, "--out", tmp_path / "v"],
    ):
        refuses(capsys, command, tmp_path / "checkpoint.safetensors", "damaged")
    (tmp_path / "checkpoint.safetensors").write_bytes(checkpoint)
    (tmp_path / "config.json").write_bytes(config[:-10])
    refuses(capsys, ["train", "--resume", tmp_path], tmp_path / "config.json", "damaged")
    (tmp_path / "config.json").write_bytes(config.replace(b'"width": 4', b'"width": 8'))
    refuses(capsys, ["train", "--resume", tmp_path], "networks.encoder")
    (tmp_path / "config.json").write_bytes(config.replace(b'"width": 4', b'"breadth": 4'))
    refuses(capsys, ["train", "--resume", tmp_path], "breadth")
    (tmp_path / "config.json").write_bytes(b"{}")
    refuses(capsys, ["train", "--resume", tmp_path], "not a run of 'nearfar train'")


@pytest.mark.parametrize("module", ["safetensors.numpy", "tqdm", "sklearn", "matplotlib.figure"])
def test_missing_packages(tmp_path, monkeypatch, capsys, module):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    refuses(capsys, ["train", *SMALL], "pip install 'nearfar[train]'")
    assert not list(tmp_path.iterdir())


def test_divergence(tmp_path, capsys):
    arguments = [
        "train",
        *SMALL,
        "--optimizer",
        "sgd",
        "--lr",
        "1e38",
        "--warmup-steps",
        "0",
        "--run-dir",
        tmp_path / "r",
    ]
    refuses(capsys, [*arguments, "--epochs", "20"], "training has diverged", "learning rate")


@pytest.mark.parametrize("command", [[], ["train"], ["embed"], ["evaluate"]])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "usage: nearfar" in text
    assert "examples" in text or "fashion-mnist[:DIR]" in text
    assert "==SUPPRESS==" not in text


# ---- as a process ----


def start(tmp_path, *arguments):
    command = [sys.executable, "-m", "nearfar.cli", *map(str, arguments)]
    # A shell starts background jobs with SIGINT ignored; Ctrl-C comes to a process that does not.
    default = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, preexec_fn=default, **pipes)


def rows(tmp_path):
    log = tmp_path / "run" / "log.csv"
    return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_then_resume_is_uninterrupted(tmp_path):
    options = ["--width", 4, "--epochs", 30, "--limit", 200, "--batch-size", 50, "--quiet", "--no-report", "--seed", 3]
    process = start(tmp_path, "train", *options, "--run-dir", "run", "--threads", 2, "--checkpoint-seconds", 0)
    wait_for(lambda: rows(tmp_path) > 10, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in error and "nearfar train --resume run" in error and "Traceback" not in error
    done = rows(tmp_path) - 1
    assert 10 <= done < 120
    nf.load(tmp_path / "run")

    assert main(["train", "--resume", str(tmp_path / "run"), "--quiet", "--no-report"]) == 0
    assert main(["train", *map(str, options), "--run-dir", str(tmp_path / "whole"), "--prefetch"]) == 0
    one, other = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == other


def test_killed_runs_resume(tmp_path):
    options = ["--width", 4, "--epochs", 20, "--limit", 200, "--batch-size", 50, "--quiet", "--no-report"]
    process = start(tmp_path, "train", *options, "--run-dir", "run", "--checkpoint-seconds", 0)
    wait_for(lambda: (tmp_path / "run" / "checkpoint.safetensors").exists() and rows(tmp_path) > 10, process)
    process.kill()
    process.communicate()
    nf.load(tmp_path / "run")
    assert main(["train", "--resume", str(tmp_path / "run"), "--quiet", "--no-report"]) == 0
    assert rows(tmp_path) == 1 + 80


def test_status_of_the_process(tmp_path):
    process = start(tmp_path, "train", "--epochs", "0")
    out, error = process.communicate(timeout=60)
    assert process.returncode == 2 and out == ""
    assert error == "nearfar train: error: argument --epochs: must be an integer >= 1, got '0'\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_pipe(run, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "nearfar.cli", "evaluate", str(run)]
    environment = ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert result.returncode == 141 and "Traceback" not in result.stderr
