"""Ctrl-C is heard while Rust works: KeyboardInterrupt, long before the work would be done."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from golden_data import GOLDEN

#: Each takes many minutes where it is not interrupted.
LONG = {
    "encode": "model.mimi.encode(np.zeros(24_000 * 3_600, np.float32))",
    "decode": "model.mimi.decode(np.zeros((model.mimi.num_codebooks, 12 * 3_600), np.int32))",
    "encode_step": "model.mimi.stream().encode_step(np.zeros(24_000 * 3_600, np.float32))",
    "decode_step": "model.mimi.stream().decode_step(np.zeros((model.mimi.num_codebooks, 12 * 3_600), np.int32))",
    "step": "model.session().step(np.zeros(24_000 * 3_600, np.float32))",
    "forward": "model.lm.forward(np.zeros((1 + model.info['n_q'], 12 * 3_600), np.int32))",
    "load_audio": "rustymoshi.load_audio(sys.argv[1])",
    "transcribe": "rustymoshi.Model.load(sys.argv[2] + '/tiny-stt').transcribe(sys.argv[1])",
    "transcription": "rustymoshi.Model.load(sys.argv[2] + '/tiny-stt').transcription()"
    ".step(np.zeros(24_000 * 3_600 * 3, np.float32))",
    "synthesize": "rustymoshi.Model.load(sys.argv[2] + '/tiny-tts').synthesize('hello there ' * 24_000)",
    "translate": "rustymoshi.Model.load(sys.argv[2] + '/tiny-hibiki').translate(sys.argv[1])",
}
PROGRAM = """
import sys, threading
import numpy as np, rustymoshi
model = rustymoshi.Model.default()
threading.Timer(0.3, lambda: print("begun", flush=True)).start()
try:
    {work}
except KeyboardInterrupt:
    print("heard")
else:
    print("done")
"""


def long_wav(path: Path) -> None:
    """Ten days of silence, of which the disk holds the header."""
    size = 2 * 8_000 * 86_400 * 10
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 16_000, 2, 16)
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, size + 100, size, size // 2, 0)
    head = b"RF64" + b"\xff" * 4 + b"WAVE" + ds64 + form + b"data" + b"\xff" * 4
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)


@pytest.mark.parametrize("work", LONG)
def test_ctrl_c_is_heard_during(work: str, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    long_wav(path)
    command = [sys.executable, "-c", PROGRAM.format(work=LONG[work]), path, str(GOLDEN)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None and program.stdout.readline() == "begun\n"
            program.send_signal(signal.SIGINT)
            said, errors = program.communicate(timeout=60)
        finally:
            program.kill()
    assert said == "heard\n", said + errors


def test_another_handler_is_called_and_the_work_goes_on() -> None:
    program = """
import signal, threading
import numpy as np, rustymoshi
calls = []
signal.signal(signal.SIGINT, lambda *_: calls.append(1))
mimi = rustymoshi.Model.default().mimi
threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
codes = mimi.encode(np.zeros(24_000 * 400, np.float32))
print(codes.shape[1], len(calls))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "5000 1\n", done.stdout + done.stderr
