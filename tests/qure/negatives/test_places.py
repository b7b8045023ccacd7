"""A range of ranks without the target's, against the same ranks as marks."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from qure.negatives.places import Marks, Span


@given(data=st.data(), size=st.integers(2, 30))
def test_a_span_counts_as_its_marks(data: st.DataObject, size: int) -> None:
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    target = data.draw(st.integers(0, size - 1).filter(lambda rank: (start, stop) != (rank, rank + 1)))
    span = Span(*(torch.tensor([rank]) for rank in (start, stop, target)))
    ranks = torch.arange(size)
    marks = Marks(((ranks >= start) & (ranks < stop) & (ranks != target))[None])
    bounds = torch.arange(size + 1)[None]
    assert torch.equal(span.below(bounds), marks.below(bounds))
    assert torch.equal(span.first(), marks.first())
    assert torch.equal(span.last(), marks.last())
    assert torch.equal(span.size(), marks.marks.sum(1))
