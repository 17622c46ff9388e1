"""What the benchmarks share: the machine's description, fair timing, peak memory, tables and JSON.

Rules, so that a ratio means something:

- Contenders take turns in one run (A B A B ...), and a ratio is the median over the turns: a machine that slows down
  slows both.
- BLAS and OpenMP threads spin for a while after a call, and slow whatever runs next. So before it is timed each
  contender rests, then runs untimed for `WARM_SECONDS`.
- On a machine that others use as well, only `--cpu-clock` gives figures worth anything: one thread, timed by the
  processor time of the process. Threads that wait for each other wait for the others' programs, too.
- Peak memory is taken in a fresh process per contender, from the moment when its inputs and parameters exist.
- A peer that is not installed gives a row that says so, and the run goes on.
"""

import argparse
import contextlib
import datetime
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nearfar as nf
import numpy as np
from nearfar import _core

RESULTS = Path(__file__).parent / "results"
REST_SECONDS = 0.05
WARM_SECONDS = 0.15
BUSY = 0.3  # load per CPU above which a run says that the machine was not free
SAMPLE_SECONDS = 0.05  # a timed sample repeats a short call until it lasts this long
PACKAGES = ("numpy", "torch", "albumentations", "opencv-python-headless", "pillow")


class Contender(NamedTuple):
    """Something to time: `run` is a call without arguments, or the reason why there is none."""

    name: str
    run: Callable[[], Any] | str


class Row(NamedTuple):
    """One line of a table. Contender "nearfar" is ours; its `ratio` is 1."""

    case: str
    contender: str
    seconds: float | None = None  # of one call, median over the turns
    fastest: float | None = None  # and the least: what is left when other programs disturb less
    rate: float | None = None  # things done per second, at the median
    ratio: float | None = None  # its time over ours, median over the turns: how many times faster we are
    bound: float | None = None  # the least time the arithmetic takes at the sgemm rate, over the time taken
    megabytes: float | None = None  # peak memory beyond inputs and parameters
    note: str = ""


# ---- command line ----


def arguments(description: str, **extra: dict) -> argparse.Namespace:
    """Parse the options that all benchmarks have, and `extra`: option name to keywords of `add_argument`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="small cases and few turns: does it run at all?")
    parser.add_argument("--no-peers", action="store_true", help="time nearfar alone; imports no peer")
    parser.add_argument("--threads", type=int, default=0, help="of each contender (default: nearfar's own choice)")
    parser.add_argument("--cpu-clock", action="store_true", help="one thread, processor time: for a busy machine")
    parser.add_argument("--rounds", type=int, default=0, help="turns per contender (default: the benchmark's choice)")
    parser.add_argument("--out", type=Path, help=f"JSON file to write (default: {RESULTS.name}/<benchmark>.json)")
    for name, keywords in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **keywords)
    options = parser.parse_args()
    if options.cpu_clock and options.threads > 1:
        parser.error(f"--cpu-clock is for one thread, got --threads {options.threads}")
    options.threads = 1 if options.cpu_clock else options.threads or nf.get_num_threads()
    nf.set_num_threads(options.threads)
    return options


def load(package: str, options: argparse.Namespace) -> Any:
    """A peer's module, or the reason why it is left out as text. torch is set up for speed and for equal threads."""
    if options.no_peers:
        return "left out"
    try:
        module = importlib.import_module(package)
    except ImportError:
        return "not installed"
    if package == "torch":
        set_up_torch(options.threads)
    return module


def set_up_torch(threads: int) -> None:
    """Before torch starts its threads: they take over the floating-point mode of the one that starts them."""
    import torch

    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)


# ---- the machine ----


def machine(threads: int) -> dict[str, Any]:
    """What a reader needs to know to compare figures."""
    versions = {"nearfar": nf.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "instruction_set": _core.config()["instruction_set"],
        "blas": _core.config()["blas"],
        "environment": {name: os.environ[name] for name in ("OPENBLAS_CORETYPE", "NEARFAR_ISA") if name in os.environ},
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def _cpu_name() -> str:
    """Model name and numbers: hypervisors often hide the name, but not family and model."""
    fields = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name


def sgemm_rates(threads: int, torch: Any, size: int, clock) -> dict[str, float]:
    """Flops per second of a float32 product of two size x size matrices, in NumPy and in torch; the larger as "best".

    It is the yardstick of the `bound` column: what a good library makes of this machine, with these threads, today.
    NumPy's OpenBLAS picks its kernels by CPU model and takes slow ones for a model that is newer than itself;
    OPENBLAS_CORETYPE in the environment overrides that. Hence the second opinion.
    """
    a, b = np.random.default_rng(0).standard_normal((2, size, size), dtype=np.float32)
    contenders = [Contender("numpy", lambda: a @ b)]
    if not isinstance(torch, str):
        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        contenders.append(Contender("torch", lambda: ta @ tb))
    with blas_threads(threads):
        times = take_turns(contenders, 5, clock)
    rates = {name: 2 * size**3 / min(seconds) for name, seconds in times.items()}
    return rates | {"best": max(rates.values())}


@contextlib.contextmanager
def blas_threads(threads: int):
    """Give NumPy's BLAS this many threads, if threadpoolctl is there to do so."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(threads, user_api="blas"):
        yield


# ---- time ----


def take_turns(contenders: Sequence[Contender], rounds: int, clock=time.perf_counter) -> dict[str, list[float]]:
    """Seconds of one call of each contender, once per round; contenders without a call are left out."""
    contenders = [contender for contender in contenders if not isinstance(contender.run, str)]
    for contender in contenders:  # first calls compile, allocate, start threads
        contender.run()
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for name, run in contenders:
            times[name].append(_sample(run, clock))
    return times


def _sample(run, clock) -> float:
    time.sleep(REST_SECONDS)
    start = time.perf_counter()
    calls = 0
    while (warm := time.perf_counter() - start) < WARM_SECONDS:
        run()
        calls += 1
    repeats = max(1, round(SAMPLE_SECONDS * calls / warm))
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats


# ---- memory ----


def peak_memory(build: Callable[..., Callable[[], Any]], *args: Any, warm: tuple | None = None) -> float:
    """Megabytes (10^6) by which a fresh process grows at most while it runs ``build(*args)()`` twice.

    What `build` makes (imports, inputs, parameters) is not counted. With `warm`, the process first runs
    ``build(*warm)()``, a small case, so that libraries loaded at the first call are not counted either. `build` must be
    a function of a module; the module is imported anew, so scripts need their ``if __name__ == "__main__"``.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grow, (build, args, warm))


def _grow(build, args, warm) -> float:
    if warm is not None:
        build(*warm)()
    run = build(*args)
    before = _reset_peak()
    run()
    run()
    return (_peak() - before) / 1e6


# The kernel's own peak (VmHWM) belongs to this process alone. getrusage's ru_maxrss does not: a child starts with the
# figure of the parent that forked it.


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status must have VmHWM: peak memory is measured on Linux only")


# ---- output ----

HEADER = (
    f"{'case':<32} {'contender':<44} {'time':>9} {'fastest':>9} {'per second':>11} {'/ ours':>8} {'bound':>7} "
    f"{'peak MB':>9}"
)


def format_row(row: Row) -> str:
    if row.note:
        return f"{row.case:<32} {row.contender:<44} {row.note:>9}"
    cells = (
        _seconds(row.seconds).rjust(9),
        _seconds(row.fastest).rjust(9),
        ("" if row.rate is None else f"{row.rate:,.0f}" if row.rate >= 100 else f"{row.rate:.3g}").rjust(11),
        ("" if row.ratio is None else f"{row.ratio:.2f}x").rjust(8),
        ("" if row.bound is None else f"{row.bound:.0%}").rjust(7),
        ("" if row.megabytes is None else f"{row.megabytes:,.1f}").rjust(9),
    )
    return f"{row.case:<32} {row.contender:<44} {' '.join(cells)}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, scale in (("s", 1), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


class Report:
    """Prints what the figures belong to, then collects rows and writes them as JSON."""

    def __init__(self, name: str, options: argparse.Namespace, *, sgemm: bool = True, header: bool = True):
        self.path = options.out or RESULTS / f"{name}.json"
        self.clock = time.process_time if options.cpu_clock else time.perf_counter
        self.torch = load("torch", options)
        self.machine = machine(options.threads) | {"clock": "processor" if options.cpu_clock else "wall"}
        if sgemm:
            self.machine["sgemm"] = sgemm_rates(options.threads, self.torch, 512 if options.quick else 2048, self.clock)
            self.sgemm = self.machine["sgemm"]["best"]
        self.content: dict[str, Any] = {"benchmark": name, "quick": options.quick, "machine": self.machine, "rows": []}
        print(self._title(name))
        if header:
            print(HEADER)

    def _title(self, name):
        m = self.machine
        lines = [
            f"{name}, {m['date']}: {m['cpu']}, {m['cpus']} CPUs, {m['threads']} threads, {m['instruction_set']}",
            ", ".join(f"{package} {version}" for package, version in m["versions"].items()),
        ]
        if "sgemm" in m:
            rates = ", ".join(f"{who} {rate / 1e9:.0f} GF/s" for who, rate in m["sgemm"].items() if who != "best")
            lines.append(f"sgemm rate: {rates}; 'bound' is by the larger")
        lines += [f"environment: {key}={value} (changes BLAS or kernels)" for key, value in m["environment"].items()]
        if m["clock"] == "processor":
            lines.append("times are processor time")
        elif m["load"] > BUSY * m["cpus"]:
            lines.append(f"other programs are running (load {m['load']:.1f}): times and ratios are not to be quoted")
        return "\n".join(lines)

    def compare(
        self,
        case: str,
        contenders: Sequence[Contender],
        rounds: int,
        *,
        work: float = 1,
        bound_seconds: float | None = None,
        megabytes: dict[str, float] | None = None,
    ) -> list[Row]:
        """Time contenders against the first one, print a row for each, and keep them for the JSON file.

        Parameters
        ----------
        case : str
            What they all do.
        contenders : sequence of Contender
            Ours first.
        rounds : int
            Turns for each.
        work : float
            Things (pairs, views) that one call does.
        bound_seconds : float, optional
            Least time for the arithmetic at the sgemm rate.
        megabytes : dict, optional
            Peak memory by name.
        """
        times = take_turns(contenders, rounds, self.clock)
        rows = []
        for name, run in contenders:
            memory = (megabytes or {}).get(name)
            if isinstance(run, str):
                rows.append(Row(case, name, megabytes=memory, note=run))
                continue
            seconds = statistics.median(times[name])
            ratio = statistics.median(b / a for a, b in zip(times[contenders[0].name], times[name], strict=True))
            bound = None if bound_seconds is None else bound_seconds / seconds
            rows.append(Row(case, name, seconds, min(times[name]), work / seconds, ratio, bound, memory))
        for row in rows:
            print(format_row(row), flush=True)
        self.content["rows"] += [row._asdict() for row in rows]
        self._save()  # a run of an hour that is stopped leaves what it has
        return rows

    def write(self) -> None:
        self._save()
        print(f"written: {self.path}")

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.content, indent=1) + "\n")
