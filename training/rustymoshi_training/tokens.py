"""The text side: the SentencePiece model, and words placed on frames (padding 3, end of padding 0)."""

import io
from pathlib import Path

import numpy as np

from .paths import FRAME_RATE, folder

END_OF_PADDING, PADDING = 0, 3
VOCABULARY = 1_700
# Frames by which a word's text comes before its sound. With none the model learns to read the next word off the sound
# that it has just heard itself begin, not off the question: teacher-forced it is right, alone it answers at random.
LEAD = 2


def train_tokenizer(sentences: list[str], model: Path, vocabulary: int = VOCABULARY) -> None:
    """Train with the published ids (unknown 0, begin 1, end 2, padding 3) and byte fallback, and write `model`."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=written,
        vocab_size=vocabulary,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
        num_threads=1,
        normalization_rule_name="identity",
    )
    model.write_bytes(scrubbed(written.getvalue()))


def scrubbed(model: bytes) -> bytes:
    """A SentencePiece model without the names of the files that it was made from and written to: where they lie tells
    of a person and a machine. Its pieces stay what they are."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    for field in ("input", "model_prefix"):
        proto.trainer_spec.ClearField(field)
    return proto.SerializeToString()


def tokenizer():
    """The trained model, made from all answers on first use."""
    import sentencepiece

    path = folder("text") / "tokenizer.model"
    if not path.exists():
        from .questions import DO_NOT_KNOW, Bank

        answers = [e.answer for e in Bank().everything()] + [DO_NOT_KNOW] * 20
        train_tokenizer(answers * 30, path)
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def align(words: list[tuple[str, float, float]], frames: int, pieces) -> np.ndarray:
    """Text tokens [frames]: each word's pieces from `LEAD` frames before it sounds (later where frames are taken),
    one end of padding in the frame before a word that follows padding. `pieces(word)` gives a word's ids."""
    row = np.full(frames, PADDING, np.int64)
    free = 0
    for text, start, _ in words:
        ids = pieces(text)
        at = max(int(start * FRAME_RATE) - LEAD, free)
        if at + len(ids) > frames:
            break
        if at > free or (at > 0 and at == free and row[at - 1] == PADDING):
            row[at - 1] = END_OF_PADDING
        row[at : at + len(ids)] = ids
        free = at + len(ids)
    return row


def spoken(ids, pieces_to_text) -> str:
    """The words of a token row without its silent ids."""
    return pieces_to_text([int(i) for i in ids if i not in (END_OF_PADDING, PADDING)])
