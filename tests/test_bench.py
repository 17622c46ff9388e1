"""The benchmarks still run: each in its quick form, on our side alone."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parent / "bench"


def run(script, tmp_path, *options):
    """The report that a benchmark writes. Nothing of torch must be imported on the way."""
    (tmp_path / "torch.py").write_text("raise SystemExit('a run without peers imports torch')\n")
    out = tmp_path / "report.json"
    command = [sys.executable, str(BENCH / f"{script}.py"), "--quick", "--no-peers", "--out", str(out), *options]
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.mark.parametrize(("script", "cases"), [("loss", 2 + 21), ("transforms", 18 + 17), ("step", 6), ("encoder", 22)])
def test_reports_a_time_for_each_case_and_why_peers_are_missing(script, cases, tmp_path):
    report, text = run(script, tmp_path, "--threads", "2", "--rounds", "1")
    ours = [row for row in report["rows"] if row["contender"] == "nearfar"]
    assert len(ours) == cases
    assert all(row["seconds"] > 0 and row["rate"] > 0 and row["ratio"] == 1 for row in ours)
    assert all(row["case"] in text for row in ours)
    others = [row for row in report["rows"] if row["contender"] != "nearfar"]
    assert others and all(row["note"] == "left out" and row["seconds"] is None for row in others)
    assert report["machine"]["threads"] == 2 and report["machine"]["versions"]["numpy"] == np.__version__


def test_losses_can_be_chosen(tmp_path):
    report, _ = run("loss", tmp_path, "--threads", "1", "--rounds", "1", "--losses", "dcl", "triplet semi-hard")
    assert list(dict.fromkeys(row["case"] for row in report["rows"])) == [
        "dcl, 256 x 128",
        "triplet semi-hard, 256 x 128",
    ]


def test_layers_of_an_encoder_add_up(tmp_path):
    report, text = run("encoder", tmp_path, "--layers", "--cases", "convnet-32", "--batch", "8")
    assert [row["count"] for row in report["rows"]] == [1, 1, 1]
    assert all(row["forward"] > 0 and row["sgemm_seconds"] > 0 for row in report["rows"])
    assert report["rows"][0]["input"] is None and "optimiser" in text


def test_algorithms_of_convolutions(tmp_path):
    report, text = run("convolution", tmp_path, "--sizes", "2", "16", "--channels", "16", "--batch", "8")
    assert [row["taken"] for row in report["rows"]] == ["direct", "direct", "winograd4", "winograd4"]
    assert all(row["direct"] > 0 and row["winograd4"] > 0 and row["loss"] >= 1 for row in report["rows"])
    assert "of 4 shapes" in text


def test_growth_has_a_rate_for_each_batch_and_number_of_threads(tmp_path):
    options = ("--growth", "--cases", "convnet-32", "mobilenet-32", "--batch", "4", "2", "--threads", "2")
    report, text = run("encoder", tmp_path, *options)
    found = [(row["case"], row["batch"], row["threads"]) for row in report["rows"]]
    cases = ("convnet-32", "mobilenet-32")
    assert found == [(case, batch, threads) for case in cases for threads in (1, 2) for batch in (2, 4)]
    assert all(row["rate"] == row["batch"] / row["seconds"] > 0 for row in report["rows"])
    assert text.count("100%") >= 4 and "2 threads" in text


def test_a_missing_peer_gives_a_row_and_no_error(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import harness

    options = type("Options", (), {"no_peers": False, "threads": 1})
    assert harness.load("a_package_that_is_not_there", options) == "not installed"
    row = harness.Row("case", "peer", note="not installed")
    assert harness.format_row(row).split() == ["case", "peer", "not", "installed"]


def test_peak_memory_counts_what_a_call_holds(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import harness

    least = harness.peak_memory(hold, 10_000_000, warm=(1,))
    assert 78 <= least < 90  # 10^7 numbers of 8 bytes; the kernel counts pages in lots


def hold(count):
    """For the test above: a call that holds so many numbers for a moment."""
    return lambda: np.ones(count).sum()


def test_fashion_mnist_trains_and_prints_the_reference(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 600), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 25, (count, 28, 28), dtype=np.uint8) + 20 * labels[:, None, None]
        for kind, values in (("labels-idx1", labels), ("images-idx3", images)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            with gzip.open(tmp_path / f"{part}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + values.tobytes())
    report, text = run("fashion_mnist", tmp_path, "--data", str(tmp_path), "--encoders", "convnet")
    assert "reference" in text and "0.829" in text and "not judged" in text
    assert report["failures"] is None
    (row,) = report["rows"]
    assert 0 < row["trained"]["loss"] < 10 and 0 <= row["trained"]["linear"] <= 1


def test_fashion_mnist_criterion(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    from fashion_mnist import Figures, misses

    reference = Figures(0.8, 0.83, 3.4)
    assert misses(Figures(0.7931, 0.9, 3.449), reference) == []
    assert len(misses(Figures(0.7929, 0.8229, 3.451), reference)) == 3
    assert len(misses(Figures(float("nan"), 0.83, float("nan")), reference)) == 2
