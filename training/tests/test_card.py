"""The numbers of a judgement in a model's card."""

from pathlib import Path

import rustymoshi_training
from rustymoshi_training.card import MARK, write_card


def test_numbers_take_the_place_of_the_last_ones(tmp_path):
    path = tmp_path / "MODEL_CARD.md"
    path.write_text((Path(rustymoshi_training.__file__).parent / "MODEL_CARD.md").read_text())
    write_card(path, {"held_out_voices_right": 0.5, "stoi_agent": 0.9}, 32)
    first = path.read_text()
    assert "| right answers, held-out voices | 50 % | >= 90 |" in first and "0.90" in first
    write_card(path, {"held_out_voices_right": 0.75}, 64)
    second = path.read_text()
    assert "| 75 % |" in second and "50 %" not in second and "of 64 trials" in second
    assert second.count(MARK) == 2 and second.endswith("![training curves](curves.png)\n")
