"""The temporal transformer's matrices of Moshi 7B: our integer products beside ggml's, pass by pass in turn.

    python3 benches/ggml/run.py [--threads 2] [--passes 15] [--work ~/.cache/rustymoshi-ggml]

Fetches the sources of PyPI's llama-cpp-python, builds ggml's CPU backend for this processor in the work folder (cmake
comes from PyPI, into a virtual environment there), and `chain.cpp` against it. Nothing is written into the tree.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import subprocess
import sys

VERSION = "0.3.16"
HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent


def run(*command: object, cwd: pathlib.Path | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def build_ggml(work: pathlib.Path) -> pathlib.Path:
    """The chain program, built if need be."""
    program = work / "chain"
    sources, tools = work / "vendor/llama.cpp/ggml", work / "venv/bin"
    if not sources.exists():
        work.mkdir(parents=True, exist_ok=True)
        run(sys.executable, "-m", "venv", work / "venv")
        run(tools / "pip", "install", "-q", "cmake", "ninja", "scikit-build-core")
        name = "llama-cpp-python"
        options = ["-q", "--no-deps", "--no-build-isolation", "--no-binary", name, "-d", work / "sdist"]
        run(tools / "pip", "download", *options, f"{name}=={VERSION}")
        (archive,) = (work / "sdist").glob("*.tar.gz")
        # The archive leaves out a file that only an installation needs.
        run("tar", "xf", archive, "-C", work, "--strip-components=1", "--wildcards", "*/vendor/llama.cpp/ggml/*")
        (sources / "ggml.pc.in").touch()
    if not (work / "build/src/libggml.a").exists():
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=ON", "-DGGML_OPENMP=ON"]
        lean = ["-DGGML_BUILD_TESTS=OFF", "-DGGML_BUILD_EXAMPLES=OFF"]
        run(tools / "cmake", "-S", sources, "-B", work / "build", *options, *lean)
        run(tools / "cmake", "--build", work / "build", "-j2")
    libraries = [work / "build/src" / f"lib{name}.a" for name in ("ggml", "ggml-cpu", "ggml-base")]
    include = ["-I", sources / "include"]
    run("g++", "-O2", *include, HERE / "chain.cpp", *libraries, "-fopenmp", "-ldl", "-pthread", "-o", program)
    return program


class Chain:
    """A program that takes one pass for each line it is sent."""

    def __init__(self, *command: object) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(part) for part in command], stdin=pipe, stdout=pipe, text=True)
        self.ready = self.answer()
        self.times: list[float] = []

    def answer(self) -> list[str]:
        line = self.process.stdout.readline().split() if self.process.stdout else []
        if not line:
            raise SystemExit(f"{self.process.args} ended early")
        return line

    def step(self, counts: bool) -> list[str]:
        if self.process.stdin:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        answer = self.answer()
        if counts:
            self.times.append(float(answer[0]))
        return answer

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def compare(program: pathlib.Path, ggml: str, ours: str, args: argparse.Namespace) -> None:
    ours_program = TREE / "target/release/examples/temporal_chain"
    chains = [Chain(program, ggml, args.threads), Chain(ours_program, ours, args.threads)]
    reads = []
    for turn in range(args.passes + 2):
        for chain in chains:
            answer = chain.step(turn >= 2)
        reads.append(float(answer[1]))
    for chain in chains:
        chain.close()
    gbps = statistics.median(reads)
    times = [statistics.median(chain.times) for chain in chains]
    repacked = " repacked" if chains[0].ready[1] == "1" else ""
    for name, chain, time in zip((f"ggml {ggml}{repacked}", f"ours {ours}"), chains, times, strict=True):
        share = int(chain.ready[2]) / (time / 1e3) / 1e9 / gbps
        print(f"{name:<22} {time:8.1f} ms   {100 * share:5.1f} % of {gbps:.1f} GB/s")
    print(f"{'ratio':<22} {times[0] / times[1]:8.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path.home() / ".cache/rustymoshi-ggml")
    parser.add_argument("--build-only", action="store_true", help="build ggml's side and stop")
    args = parser.parse_args()
    program = build_ggml(args.work)
    if args.build_only:
        return
    run("cargo", "build", "--release", "--workspace", "--example", "temporal_chain", cwd=TREE)
    for ggml, ours in (("q8_0", "q8_0"), ("q8_0", "q8"), ("q4_0", "q4_0")):
        compare(program, ggml, ours, args)


if __name__ == "__main__":
    main()
