"""Frames: what is sent arrives whatever surrounds it, and what is spoiled does not arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.mcu.frames import FLUSH, MARK, PAYLOAD, Frame, FrameReader

frames = st.builds(
    Frame,
    st.sampled_from("HGWROKEF"),
    st.integers(0, 255),
    st.binary(max_size=64) | st.just(bytes(PAYLOAD)) | st.just(MARK * 8),
)


@given(st.lists(frames, max_size=4), st.integers(1, 97))
def test_frames_arrive_in_order_however_the_stream_is_cut(sent: list[Frame], step: int) -> None:
    stream = b"".join(frame.encoded() for frame in sent)
    reader = FrameReader()
    received = []
    for start in range(0, len(stream), step):
        received += reader.feed(stream[start : start + step])
    assert received == sent
    assert reader.spoiled == 0


@given(frames, st.data())
def test_a_frame_with_any_wrong_bit_does_not_arrive_and_the_next_one_does(
    frame: Frame, data: st.DataObject
) -> None:
    whole = bytearray(frame.encoded())
    position = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[position // 8] ^= 1 << position % 8
    following = Frame("R", 7, b"fine")
    assert FrameReader().feed(bytes(whole) + FLUSH + following.encoded())[-1:] == [following]
    assert frame not in FrameReader().feed(bytes(whole) + FLUSH)


@given(frames, st.data())
def test_a_cut_frame_is_flushed_out(frame: Frame, data: st.DataObject) -> None:
    whole = frame.encoded()
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert FrameReader().feed(part + FLUSH + whole) == [frame]


@given(st.binary(max_size=64).filter(lambda noise: MARK[:1] not in noise), frames)
def test_noise_between_frames_is_skipped(noise: bytes, frame: Frame) -> None:
    stream = noise + frame.encoded() + noise + frame.encoded()
    assert FrameReader().feed(stream) == [frame, frame]
