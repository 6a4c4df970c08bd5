"""What is written piece by piece has the digest of the whole file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from compute_agent.drivers.base import UNWATCHED
from compute_agent.sparse import BLOCK, Writer, digest

pieces = st.lists(
    st.tuples(
        st.integers(0, 3 * BLOCK),
        st.integers(1, 2 * BLOCK),
        st.sampled_from([b"\0", b"a", b"b"]),
    ),
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(pieces, st.integers(0, BLOCK))
def test_data_with_holes_anywhere_arrives_as_it_was_sent(
    sent: list[tuple[int, int, bytes]], rest: int
) -> None:
    whole, chunks = BytesIO(), []
    for hole, length, byte in sent:
        offset = len(whole.getvalue()) + hole
        whole.seek(offset)
        whole.write(byte * length)
        chunks.append((offset, byte * length))
    size = len(whole.getvalue()) + rest
    expected = whole.getvalue().ljust(size, b"\0")
    with TemporaryDirectory() as folder, Path(folder, "disk").open("w+b") as target:
        writer = Writer(target, size)
        for offset, data in chunks:
            writer.write(offset, data)
        made = writer.finish()
        target.flush()
        assert Path(folder, "disk").read_bytes() == expected
        assert digest(target, UNWATCHED) == made
