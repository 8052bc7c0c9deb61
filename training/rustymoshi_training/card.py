"""The numbers of a judgement in a model's card."""

from pathlib import Path

MARK = "<!-- numbers -->"
# What of the results belongs on the card: name, what it is, factor, unit, aim.
CARD = [
    ("held_out_voices_right", "right answers, held-out voices", 100, " %", ">= 90"),
    ("new_synthesizer_right", "right answers, a synthesizer never trained on", 100, " %", ">= 80"),
    ("trained_voices_right", "right answers, kinds of voices trained on", 100, " %", ""),
    ("held_out_voices_spoken_wer", "words of the voice that the recogniser hears otherwise", 100, " %", "<= 15"),
    ("held_out_voices_answer_begins_s", "an answer begins after the question (median)", 1, " s", "0.2 to 0.8"),
    ("quiet_without_speech", "ten seconds of silence, noise or music without a word", 100, " %", ">= 95"),
    (
        "barge_in_stopped",
        "interruptions that stop the voice within 500 ms (of {barge_in_tried} while it spoke)",
        100,
        " %",
        ">= 90",
    ),
    (
        "question_barge_in_stopped",
        "the same by another question (of {question_barge_in_tried})",
        100,
        " %",
        ">= 90",
    ),
    ("five_minutes_first_half", "right answers in the first half of five minutes (of 15 questions)", 100, " %", ""),
    ("five_minutes_last_half", "and in the last half (of 15)", 100, " %", ""),
    ("stoi_agent", "STOI of the codec, the agent's voice", 1, "", ">= 0.95"),
    ("stoi_held_out", "held-out users", 1, "", ">= 0.88"),
    ("agent_wer_before", "word errors of the recogniser on the synthesizer's voice", 100, " %", ""),
    ("agent_wer_after", "and behind the codec", 100, " %", "<= 3 points more"),
    ("held_out_wer_before", "word errors of the recogniser on held-out users", 100, " %", ""),
    ("held_out_wer_after", "and behind the codec", 100, " %", ""),
]


def card(results: dict, count: int) -> str:
    """The results as a table."""
    rows = [
        f"| {what.format(**results)} | {results[name] * factor:.{2 if factor == 1 else 0}f}{unit} | {aim} |"
        for name, what, factor, unit, aim in CARD
        if results.get(name) is not None
    ]
    return "\n".join(
        [f"| of {count} trials each where nothing else is said | measured | aim |", "|---|---|---|", *rows]
    )


def write_card(path: Path, results: dict, count: int) -> None:
    """Put the table into the model card of an exported folder, between its two marks."""
    text = path.read_text()
    before, _, after = text.partition(MARK)
    after = after.partition(MARK)[2] if MARK in after else after
    path.write_text(f"{before}{MARK}\n{card(results, count)}\n{MARK}{after}")
