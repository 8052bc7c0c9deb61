"""Several processes train one model: the same gradients everywhere, and what is not learned by them from the first."""

import subprocess
import sys
from pathlib import Path

import torch
from rustymoshi_training import together

SCRIPT = """
from pathlib import Path

import torch
from rustymoshi_training import together

together.begin()
mine = 1.0 + together.rank()
weight, unused, book = torch.zeros(3, requires_grad=True), torch.zeros(2, requires_grad=True), torch.full((2, 2), mine)
rare = torch.zeros(1, requires_grad=True)
(mine * weight).sum().backward()
if together.rank() == 1:
    (4 * rare).sum().backward()
together.average_gradients([weight, unused, rare])
together.follow_first([book])
what = f"{weight.grad.tolist()} {unused.grad} {rare.grad} {book.tolist()}"
Path(__file__).with_name(f"{together.rank()}.txt").write_text(what)
together.end()
"""


def test_two_processes_go_on_with_the_same(tmp_path):
    training = Path(together.__file__).parents[1]
    (tmp_path / "script.py").write_text(f"import sys\nsys.path.insert(0, {str(training)!r})\n{SCRIPT}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(tmp_path / "script.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    after = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    assert after == ["[1.5, 1.5, 1.5] None tensor([2.]) [[1.0, 1.0], [1.0, 1.0]]"] * 2


def test_a_process_on_its_own_is_left_alone():
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()
    together.average_gradients([weight])
    together.follow_first([weight])
    assert together.rank() == 0 and weight.grad.tolist() == [1.0, 1.0]
