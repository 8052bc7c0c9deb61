"""Words come a little before they are spoken; the silent ids are the published ones."""

from rustymoshi_training.paths import FRAME_RATE
from rustymoshi_training.tokens import END_OF_PADDING, LEAD, PADDING, align, scrubbed, spoken, train_tokenizer


def pieces(word):
    return [100 + i for i in range(len(word))]


def test_silent_ids_are_those_of_the_published_models():
    assert (END_OF_PADDING, PADDING) == (0, 3)


def test_a_word_starts_before_its_sound_after_one_end_of_padding():
    row = align([("ab", 0.40 + LEAD / FRAME_RATE + 0.01, 0.8)], 10, pieces)
    assert row.tolist() == [3, 3, 3, 3, 0, 100, 101, 3, 3, 3]


def test_words_that_come_too_fast_move_later_and_keep_their_order():
    row = align([("abc", 0.0, 0.1), ("a", 0.1, 0.2)], 8, pieces)
    assert row.tolist() == [100, 101, 102, 100, 3, 3, 3, 3]


def test_a_word_that_does_not_fit_is_left_out():
    assert (align([("abcd", 0.7, 0.8)], 8, pieces) == PADDING).all()


def test_spoken_drops_the_silent_ids():
    assert spoken([3, 0, 7, 8, 3], lambda ids: ids) == [7, 8]


def test_tokenizer_has_the_published_ids_and_spells_unknown_words_in_bytes(tmp_path):
    import sentencepiece

    model = tmp_path / "t.model"
    train_tokenizer(["The sky is blue.", "Grass is green."] * 20, model, 300)
    spm = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert (spm.unk_id(), spm.bos_id(), spm.eos_id(), spm.pad_id()) == (0, 1, 2, 3)
    assert spm.decode(spm.encode("é blue")) == "é blue" and 0 not in spm.encode("é")


def test_a_tokenizer_does_not_tell_where_it_was_made(tmp_path):
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    corpus, made = tmp_path / "corpus.txt", tmp_path / "somebody's-machine"
    corpus.write_text("my name is robin and the sky is blue\n" * 50)
    about = {"vocab_size": 30, "hard_vocab_limit": False, "minloglevel": 2}
    SentencePieceTrainer.train(input=str(corpus), model_prefix=str(made), **about)
    told = made.with_suffix(".model").read_bytes()
    assert str(made).encode() in told and str(corpus).encode() in told
    clean = scrubbed(told)
    assert str(tmp_path).encode() not in clean
    before, after = (SentencePieceProcessor(model_proto=model) for model in (told, clean))
    words = "the name of robin is blue"
    assert after.encode(words) == before.encode(words) and after.get_piece_size() == before.get_piece_size()


def test_the_model_it_trains_tells_nothing_either(tmp_path):
    model = tmp_path / "tokenizer.model"
    train_tokenizer(["my name is robin and the sky is blue"] * 50, model, vocabulary=290)
    assert str(tmp_path).encode() not in model.read_bytes() and model.stat().st_size > 1_000
