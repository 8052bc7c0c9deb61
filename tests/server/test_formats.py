"""Checkpoints that `moshi-backend quantize` and `convert` write, read by the formats' own libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden" / "tiny-moshi"


def test_the_gguf_library_reads_what_quantize_writes(binary: Path, tmp_path: Path) -> None:
    exact = tmp_path / "exact.gguf"
    subprocess.run([binary, "convert", GOLDEN, exact, "--layout", "gguf"], check=True)
    weights = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(exact).tensors}
    for kind, allowed in (("q8_0", 0.006), ("q4_0", 0.1)):
        out = tmp_path / f"{kind}.gguf"
        subprocess.run([binary, "quantize", GOLDEN, out, "--type", kind], check=True)
        reader = gguf.GGUFReader(out)
        assert reader.get_field("general.architecture").contents() == "moshi"
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        assert tensors.keys() == weights.keys()
        types = {tensor.tensor_type.name for tensor in reader.tensors}
        assert types == ({"Q8_0", "F32"} if kind == "q8_0" else {"Q4_0", "Q8_0", "F32"})
        for name, tensor in tensors.items():
            found = gguf.dequantize(tensor.data, tensor.tensor_type)
            assert found.shape == weights[name].shape
            error = np.linalg.norm(found - weights[name]) / np.linalg.norm(weights[name])
            assert error < allowed, f"{kind} {name}: {error}"


def test_scales_chosen_by_error_beat_those_of_the_gguf_library(binary: Path, tmp_path: Path) -> None:
    out, exact = tmp_path / "q4.gguf", tmp_path / "f32.safetensors"
    subprocess.run([binary, "quantize", GOLDEN, out, "--type", "q4_0"], check=True)
    subprocess.run([binary, "quantize", GOLDEN, exact, "--type", "f32"], check=True)
    name = "transformer.layers.0.gating.linear_in.weight"
    weight = load_file(exact)[name]
    kind = gguf.GGMLQuantizationType.Q4_0
    ours = next(tensor for tensor in gguf.GGUFReader(out).tensors if tensor.name == name)
    ours = np.square(gguf.dequantize(ours.data, kind) - weight).sum()
    theirs = np.square(gguf.dequantize(gguf.quantize(weight, kind), kind) - weight).sum()
    assert ours < 0.95 * theirs


def test_a_pytorch_int8_file_means_what_its_package_computes(binary: Path, tmp_path: Path) -> None:
    out, exact = tmp_path / "q8.safetensors", tmp_path / "f32.safetensors"
    subprocess.run([binary, "quantize", GOLDEN, out, "--type", "q8-rows"], check=True)
    subprocess.run([binary, "quantize", GOLDEN, exact, "--type", "f32"], check=True)
    weights = load_file(exact)
    # numpy has no bf16, in which tables and norms stay.
    with safe_open(out, "numpy") as tensors:
        scaled = [name for name in tensors.keys() if f"{name}_scb" in tensors.keys()]  # noqa: SIM118
        assert len(scaled) > 40
        for name in scaled:
            found = tensors.get_tensor(name) * tensors.get_tensor(f"{name}_scb")[:, None] / 127
            assert np.abs(found - weights[name]).max() <= 0.51 / 127 * np.abs(weights[name]).max()
