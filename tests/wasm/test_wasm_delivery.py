"""Messages arrive by a rule that knows neither engines nor slots."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stigmergy.wasm.delivery import Letters, deliver

AGENTS = np.array([2, 3, 5, 8], dtype=np.int64)
Pair = tuple[int, int, bytes]
contents = st.binary(min_size=4, max_size=4)


def letters(pairs: list[Pair]) -> Letters:
    return Letters(
        np.array([sender for sender, _, _ in pairs], dtype=np.int64),
        np.array([recipient for _, recipient, _ in pairs], dtype=np.int64),
        np.array([len(content) for _, _, content in pairs], dtype=np.uint32),
        np.array([list(content) for _, _, content in pairs], dtype=np.uint8).reshape(-1, 4),
    )


def pairs(of: Letters) -> list[Pair]:
    rows = zip(of.senders.tolist(), of.recipients.tolist(), of.contents, strict=True)
    return [(sender, recipient, bytes(content)) for sender, recipient, content in rows]


def plainly(
    inboxes: list[Pair], outboxes: list[Pair], capacity: int
) -> tuple[list[Pair], list[Pair], int]:
    """The rule, letter by letter."""
    boxes: dict[int, list[Pair]] = defaultdict(list)
    for letter in inboxes:
        boxes[letter[1]].append(letter)
    kept: list[Pair] = []
    lost = 0
    for letter in outboxes:
        sender, recipient, _ = letter
        if any(one[0] == sender for one in kept):
            kept.append(letter)
        elif recipient not in AGENTS.tolist():
            lost += 1
        elif len(boxes[recipient]) == capacity:
            kept.append(letter)
        else:
            boxes[recipient].append(letter)
    return [letter for owner in sorted(boxes) for letter in boxes[owner]], kept, lost


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(AGENTS.tolist()), contents), max_size=8),
    st.lists(st.tuples(st.sampled_from(AGENTS.tolist()), st.integers(0, 9), contents), max_size=20),
    st.integers(2, 6),
)
def test_letters_go_as_the_rule_says(inboxes: list[Pair], outboxes: list[Pair], more: int) -> None:
    inboxes.sort(key=lambda letter: letter[1])
    outboxes.sort(key=lambda letter: letter[0])
    fullest = max((sum(a[1] == b[1] for b in inboxes) for a in inboxes), default=0)
    capacity = fullest + more - 2 or 1
    done = deliver(letters(inboxes), letters(outboxes), agents=AGENTS, capacity=capacity)
    wanted = plainly(inboxes, outboxes, capacity)
    assert (pairs(done.inboxes), pairs(done.outboxes), done.undeliverable) == wanted


@given(st.lists(st.tuples(st.sampled_from(AGENTS.tolist()), st.integers(0, 9), contents)))
def test_no_letter_is_lost_or_doubled(outboxes: list[Pair]) -> None:
    outboxes.sort(key=lambda letter: letter[0])
    done = deliver(letters([]), letters(outboxes), agents=AGENTS, capacity=2)
    after = pairs(done.inboxes) + pairs(done.outboxes)
    dropped = [letter for letter in outboxes if letter[1] not in AGENTS.tolist()]
    assert len(after) + done.undeliverable == len(outboxes)
    assert done.undeliverable <= len(dropped)
