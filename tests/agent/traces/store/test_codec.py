import json
import math
import zlib

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deeprec.agent.traces import TraceStoreError, decode_logprobs, decode_tokens, encode_logprobs, encode_tokens
from deeprec.agent.traces.store.codec import storable, storable_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(st.characters(categories=None)), inner),
    max_leaves=8,
)


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_token_ids_come_back(ids: list[int]) -> None:
    decoded = decode_tokens(encode_tokens(ids))
    assert decoded.dtype == np.int64
    assert decoded.tolist() == ids


@given(st.lists(st.floats(width=32, allow_nan=True)))
def test_float32_logprobs_come_back_to_the_bit(logprobs: list[float]) -> None:
    decoded = decode_logprobs(encode_logprobs(logprobs))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, np.array(logprobs, dtype=np.float32))


@pytest.mark.parametrize(("top", "width"), [(0, 2), (65_535, 2), (65_536, 3), (151_935, 3), (2**24, 4)])
def test_an_id_takes_as_few_bytes_as_the_largest_needs(top: int, width: int) -> None:
    assert len(encode_tokens([top, 1, 2])) == 2 + 3 * width


@pytest.mark.parametrize("top", [300, 70_000, 2**25])
def test_what_repeats_is_packed_and_comes_back(top: int) -> None:
    ids = np.arange(2000) % 50 * (top // 50)
    assert len(encode_tokens(ids)) < 1000
    np.testing.assert_array_equal(decode_tokens(encode_tokens(ids)), ids)
    logprobs = np.array([0.0, -0.5, -math.inf, math.nan] * 100, dtype=np.float32)
    assert len(encode_logprobs(logprobs)) < 400
    np.testing.assert_array_equal(decode_logprobs(encode_logprobs(logprobs)), logprobs)


def test_columns_of_the_first_format_are_read() -> None:
    plain = np.arange(300, dtype="<u2")
    assert decode_tokens(b"\x01\x02" + plain.tobytes()).tolist() == plain.tolist()
    assert decode_tokens(b"\x01\x03" + bytes((1, 0, 2) * 300)).tolist() == [0x020001] * 300
    zeros = np.zeros(300, dtype="<f4")
    np.testing.assert_array_equal(decode_logprobs(b"\x01" + zeros.tobytes()), zeros)


def test_no_tokens_are_two_bytes() -> None:
    assert encode_tokens(()) == b"\x01\x02"
    assert decode_tokens(b"\x01\x02").size == 0


def test_two_thousand_tokens_of_a_large_vocabulary_take_under_15_kb() -> None:
    size = len(encode_tokens(np.full(2000, 150_000))) + len(encode_logprobs(np.zeros(2000)))
    assert size < 15_000


@pytest.mark.parametrize("ids", [[-1], [2**32]])
def test_an_id_out_of_range_is_refused(ids: list[int]) -> None:
    with pytest.raises(TraceStoreError, match="Token ids run from"):
        encode_tokens(ids)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01\x05",
        b"\x01\x02\x00",
        b"\x00\x02",
        b"\x01\x03\x00\x00",
        b"\x02\x02",
        b"\x02\x02\x78\x9c\x00",
    ],
)
def test_damaged_tokens_are_refused(data: bytes) -> None:
    with pytest.raises(TraceStoreError, match="damaged"):
        decode_tokens(data)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01\x00", b"\x02", b"\x02abc"])
def test_damaged_logprobs_are_refused(data: bytes) -> None:
    with pytest.raises(TraceStoreError, match="damaged"):
        decode_logprobs(data)


def test_a_later_format_says_upgrade() -> None:
    with pytest.raises(TraceStoreError, match=r"format 3.*Upgrade"):
        decode_tokens(b"\x03\x02")
    with pytest.raises(TraceStoreError, match=r"format 9.*Upgrade"):
        decode_logprobs(b"\x09")


@given(st.text(st.characters(categories=None)))
def test_any_text_becomes_utf8_without_nul(text: str) -> None:
    kept = storable(text)
    kept.encode("utf-8")
    assert "\x00" not in kept
    assert storable(kept) == kept


def test_escapes_are_readable() -> None:
    assert storable("a\x00b\udc80c é 🎬") == "a\\x00b\\udc80c é 🎬"


@given(json_values)
def test_any_value_becomes_strict_json(value: object) -> None:
    text = json.dumps(storable_json(value), allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    assert storable_json(json.loads(text)) == storable_json(value)


def test_numpy_scalars_and_odd_objects_become_json() -> None:
    assert storable_json({"k": np.int64(3), "t": np.float32(0.5), "x": math.inf, 1: (2,)}) == {
        "k": 3,
        "t": 0.5,
        "x": "inf",
        "1": [2],
    }


def test_every_nan_is_stored_as_the_same_one() -> None:
    odd = np.array([0x7FC00000, 0xFFC00000, 0x7FC00123], dtype="<u4").view("<f4")
    assert len({encode_logprobs([value]) for value in odd}) == 1


def test_a_column_that_unpacks_to_too_much_or_is_cut_is_refused() -> None:
    packed = zlib.compress(bytes(100_000_000))
    assert len(packed) < 100_000
    with pytest.raises(TraceStoreError, match="token ids has over 67,108,864 bytes unpacked"):
        decode_tokens(bytes((2, 2)) + packed)
    with pytest.raises(TraceStoreError, match="logprobs has over 67,108,864 bytes unpacked"):
        decode_logprobs(bytes((2,)) + packed)
    with pytest.raises(TraceStoreError, match="token ids is damaged"):
        decode_tokens(bytes((2, 2)) + zlib.compress(bytes(range(250)) * 8)[:-20])
