"""Numbers from Python: any kind that means one, or an error that names the parameter."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import rustymoshi
from golden_data import Golden

WHOLE = ["seed", "top_k", "text_top_k", "repetition_context"]
REAL = ["temperature", "text_temperature", "top_p", "pad_mult", "repetition_penalty"]


@pytest.mark.parametrize(
    "value", [-2, -(2**63), -(2**70), 2**64, 2**70, pytest.param(10**5_000, id="long"), np.int64(-2), np.int8(-5)]
)
@pytest.mark.parametrize("name", WHOLE)
def test_integers_out_of_range_are_named(moshi: Golden, name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name} is ") as raised:
        moshi.model.session(**{name: value})
    assert "expected" in str(raised.value) and len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "value",
    [-1, -0.1, np.float32(-1), float("nan"), float("inf"), -float("inf"), 1e300, pytest.param(10**400, id="long")],
)
@pytest.mark.parametrize("name", [name for name in REAL if name != "pad_mult"])
def test_reals_out_of_range_are_named(moshi: Golden, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*; expected"):
        moshi.model.session(**{name: value})


@pytest.mark.parametrize("value", [1.5, "3", "", b"3", [3], True, np.True_, np.float64(2.0), 3j, object()])
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_no_integer_is_named(moshi: Golden, name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^{name} is .*; expected"):
        moshi.model.session(**{name: value})


@pytest.mark.parametrize("value", ["0.5", b"1", [0.5], True, np.False_, 3j, object(), np.zeros(2)])
@pytest.mark.parametrize("name", REAL)
def test_what_is_no_number_is_named(moshi: Golden, name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"(?s)^{name} is .*; expected"):
        moshi.model.session(**{name: value})


@pytest.mark.parametrize("kind", [int, np.int8, np.uint8, np.int64, np.uint64, np.array])
def test_every_kind_of_integer_is_taken(moshi: Golden, speech: np.ndarray, kind: type) -> None:
    plain = moshi.model.session(seed=5, top_k=20, temperature=1, text_top_k=9, repetition_context=7)
    other = moshi.model.session(
        seed=kind(5), top_k=kind(20), temperature=kind(1), text_top_k=kind(9), repetition_context=kind(7)
    )
    np.testing.assert_array_equal(plain.step(speech)[0], other.step(speech)[0])


@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64, Fraction, Decimal])
def test_every_kind_of_real_number_is_taken(moshi: Golden, speech: np.ndarray, kind: type) -> None:
    plain, other = (moshi.model.session(seed=5, temperature=k(0.5), top_p=k(0.75)) for k in (float, kind))
    np.testing.assert_array_equal(plain.step(speech)[0], other.step(speech)[0])


def test_a_seed_of_minus_one_is_any(moshi: Golden) -> None:
    for any_seed in (-1, None, np.int64(-1)):
        seeds = {repr(moshi.model.session(seed=any_seed)) for _ in range(4)}
        assert len(seeds) == 4, seeds
    for seed in (0, 2**64 - 1, np.uint64(2**64 - 1)):
        assert f"seed={int(seed)})" in repr(moshi.model.session(seed=seed))


@pytest.mark.parametrize("value", [-1, 0, -(2**70), 2**70, 10**9, np.int32(-1)])
def test_threads_out_of_range_are_named(moshi: Golden, value: int) -> None:
    for load in (
        lambda: rustymoshi.Model.load(moshi.folder, threads=value),
        lambda: rustymoshi.Model.default(threads=value),
        lambda: rustymoshi.Mimi.load(moshi.folder / "mimi.safetensors", threads=value),
    ):
        with pytest.raises(ValueError, match=r"^threads is "):
            load()
    with pytest.raises(TypeError, match=r"^threads is True"):
        rustymoshi.Model.default(threads=True)


@pytest.mark.parametrize("value", [-1, 0, -(2**70), 2**70, 10**6, np.int64(-1)])
def test_codebooks_out_of_range_are_named(moshi: Golden, value: int) -> None:
    with pytest.raises(ValueError, match=r"^num_codebooks is "):
        rustymoshi.Mimi.load(moshi.folder / "mimi.safetensors", num_codebooks=value)
    with pytest.raises(TypeError, match=r"^num_codebooks is 8\.0"):
        rustymoshi.Mimi.load(moshi.folder / "mimi.safetensors", num_codebooks=8.0)  # type: ignore[arg-type]


CODES = [2**31, 2**32, 2**32 + 5, 2**63 - 1, -(2**31) - 1, -(2**63)]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("at", [0, 3])
def test_codes_of_64_bits_do_not_wrap(moshi: Golden, code: int, at: int) -> None:
    codes, frame, tokens = (np.zeros(shape, np.int64) for shape in ((8, 4), 8, (17, 4)))
    codes[0, at] = frame[at] = tokens[2, at] = code
    calls = {
        "codes": [
            lambda: moshi.mimi.decode(codes),
            lambda: moshi.mimi.stream().decode_step(codes),
            lambda: moshi.model.lm.forward(tokens),
        ],
        "user_codes": [
            lambda: moshi.model.session().step_codes(frame),
            lambda: moshi.model.session().step_codes(frame.tolist()),
        ],
    }
    for name, these in calls.items():
        for call in these:
            with pytest.raises(ValueError, match=f"^{name}: code {code} is"):
                call()


def test_codes_of_other_kinds(moshi: Golden) -> None:
    codes = np.full((8, 4), 3, np.int32)
    expected = moshi.mimi.decode(codes)
    for kind in ("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64", ">i4", ">u8"):
        np.testing.assert_array_equal(moshi.mimi.decode(codes.astype(kind)), expected)
        np.testing.assert_array_equal(moshi.mimi.stream().decode_step(codes.astype(kind)), expected)
    np.testing.assert_array_equal(moshi.mimi.decode(codes.tolist()), expected)
    np.testing.assert_array_equal(moshi.mimi.stream().decode_step(np.asfortranarray(codes)), expected)
    with pytest.raises(ValueError, match="code 18446744073709551615"):
        moshi.mimi.decode(np.full((8, 4), 2**64 - 1, np.uint64))
    for wrong in (codes > 2, codes.astype(float), codes.astype(complex), codes.astype(str), [[2**70] * 4] * 8, "3", 3):
        with pytest.raises(TypeError, match=r"codes: expected an integer numpy array of shape \[8, T\]"):
            moshi.mimi.decode(wrong)
    for shape in ((4, 8), (7, 4), (9, 4), (1, 8, 4), (8,), (0, 4)):
        with pytest.raises((ValueError, TypeError), match=r"\[8, T\]"):
            moshi.mimi.decode(np.zeros(shape, np.int32))
    assert moshi.mimi.decode(np.zeros((8, 0), np.int32)).shape == (0,)


def test_samples_in_the_scale_of_int16_are_refused(moshi: Golden, speech: np.ndarray) -> None:
    loud = np.round(speech * 32_768)
    for hear in (moshi.model.session().step, moshi.mimi.encode, moshi.mimi.stream().encode_step):
        with pytest.raises(ValueError, match=r"^pcm: sample \d+ is .*int16 are to be divided by 32768"):
            hear(loud)
        hear(speech * 3)


def test_a_stream_after_an_error_repeats_nothing(moshi: Golden, speech: np.ndarray) -> None:
    expected = moshi.mimi.stream().encode_step(speech)
    stream = moshi.mimi.stream()
    parts = [stream.encode_step(speech[:5_000])]
    for bad in (np.full(4_000, np.nan, np.float32), np.full(4_000, 100, np.float32), np.zeros(5_000)):
        with pytest.raises((ValueError, TypeError)):
            stream.encode_step(bad)
    parts.append(stream.encode_step(speech[5_000:]))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
