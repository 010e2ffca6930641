"""Messages: what agents send and receive, and what the host sees and delivers."""

from __future__ import annotations

import numpy as np
import pytest

from stigmergy.testing.engines.values import crew, mail
from stigmergy.wasm.engine import Engine, Mail, Status, TrapKind
from stigmergy.wasm.hostcalls import NO_MESSAGE, SendAnswer

__all__ = ["MailRules"]

_MAIL = """
(module
  (import "stigmergy" "send" (func $send (param i32 i32 i32) (result i32)))
  (import "stigmergy" "receive" (func $receive (param i32 i32) (result i64)))
  (import "stigmergy" "wait" (func $wait))
  (memory 1)
  (data (i32.const 0) "abcdefghijklmnopqrstuvwxyz")
  (func (export "send") (param i32 i32 i32) (result i32)
    (call $send (local.get 0) (local.get 1) (local.get 2)))
  (func (export "receive") (param i32 i32) (result i64)
    (call $receive (local.get 0) (local.get 1)))
  (func (export "wait_twice") (result i64 i64) (local $first i64)
    (call $wait)
    (local.set $first (call $receive (i32.const 100) (i32.const 8)))
    (call $wait)
    (local.get $first) (call $receive (i32.const 108) (i32.const 8)))
  (func (export "add_up") (param $rounds i32) (result i64) (local $sum i64)
    (loop $l
      (call $wait)
      (drop (call $receive (i32.const 200) (i32.const 8)))
      (local.set $sum (i64.add (local.get $sum) (i64.load (i32.const 200))))
      (br_if $l (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (local.get $sum)))
"""

_NOTHING = NO_MESSAGE % 2**64


def _listed(found: Mail) -> list[tuple[int, int, bytes]]:
    """Return messages as (slot, peer, content)."""
    assert found.contents.shape[0] == len(found)
    assert found.contents.dtype == np.uint8
    listed: list[tuple[int, int, bytes]] = []
    for row in range(len(found)):
        length = int(found.lengths[row])
        content = found.contents[row].tobytes()
        assert not any(content[length:]), "beyond the length there is nothing"
        listed.append((int(found.slots[row]), int(found.peers[row]), content[:length]))
    return listed


class MailRules:
    """The mailboxes."""

    def test_what_agents_send_lies_in_their_outboxes(self, engine: Engine) -> None:
        """In order of slot, then of age."""
        with crew(engine, _MAIL, message_bytes=7) as agents:
            assert (
                agents.call("send", [9, 8, 7, 2**32 - 1], [0, 1, 2, 3], [1, 7, 0, 3])
                == [(SendAnswer.SENT,)] * 4
            )
            some = agents.slots(3, 1)
            assert agents.call("send", 5, 20, 2, slots=some) == [(SendAnswer.SENT,)] * 2
            found = agents.cohort.read_mail(agents.slots(), "outbox")
            assert found.contents.shape[1] == 7
            assert _listed(found) == [
                (0, 9, b"a"),
                (1, 8, b"bcdefgh"),
                (1, 5, b"uv"),
                (2, 7, b""),
                (3, 2**32 - 1, b"def"),
                (3, 5, b"uv"),
            ]
            assert _listed(agents.cohort.read_mail(some, "outbox")) == [
                (1, 8, b"bcdefgh"),
                (1, 5, b"uv"),
                (3, 2**32 - 1, b"def"),
                (3, 5, b"uv"),
            ]
            assert len(agents.cohort.read_mail(agents.slots(), "inbox")) == 0

    def test_an_outbox_has_its_bounds(self, engine: Engine) -> None:
        """In messages and in bytes; what does not fit is not sent, and the agent told so."""
        with crew(engine, _MAIL, message_bytes=5, mailbox_messages=2) as agents:
            assert agents.call("send", 1, 0, [5, 6, 7, 99]) == [
                (SendAnswer.SENT,),
                *[(SendAnswer.TOO_LONG,)] * 3,
            ]
            for _ in range(2):
                agents.call("send", 2, 1, 4)
            assert agents.call("send", 3, 2, 1) == [(SendAnswer.OUTBOX_FULL,)] * 4
            assert _listed(agents.cohort.read_mail(agents.slots(), "outbox")) == [
                (0, 1, b"abcde"),
                (0, 2, b"bcde"),
                *((slot, 2, b"bcde") for slot in (1, 2, 3) for _ in range(2)),
            ]

    def test_what_the_host_puts_into_an_inbox_is_received_oldest_first(
        self, engine: Engine
    ) -> None:
        """With sender and length; of what is longer than asked for the rest is lost."""
        with crew(engine, _MAIL, message_bytes=9) as agents:
            delivered = [(0, 70, b"first"), (0, 71, b"second--x"), (2, 2**32 - 1, b"")]
            agents.cohort.write_mail(agents.slots(), "inbox", mail(9, *delivered))
            assert _listed(agents.cohort.read_mail(agents.slots(), "inbox")) == delivered
            assert agents.call("receive", 50, 6) == [
                (70 << 32 | 5,),
                (_NOTHING,),
                ((2**32 - 1) << 32,),
                (_NOTHING,),
            ]
            untouched = bytes(8)
            assert agents.memory(50, 8) == [b"first\0\0\0", *[untouched] * 3]
            assert _listed(agents.cohort.read_mail(agents.slots(), "inbox")) == delivered[1:2]
            assert agents.call("receive", 61, 6)[0] == (71 << 32 | 9,)
            assert agents.memory(60, 9)[0] == b"\0second\0\0"
            assert agents.call("receive", 50, 6) == [(_NOTHING,)] * 4

    def test_writing_mail_replaces_what_was_there(self, engine: Engine) -> None:
        """In both boxes, only of the slots named, up to the brim."""
        with crew(engine, _MAIL, message_bytes=4, mailbox_messages=3) as agents:
            full = [(slot, n, bytes([n] * n)) for slot in range(4) for n in range(3)]
            for box in ("inbox", "outbox"):
                agents.cohort.write_mail(agents.slots(), box, mail(4, *full))
                assert _listed(agents.cohort.read_mail(agents.slots(), box)) == full
            agents.cohort.write_mail(agents.slots(1, 2), "outbox", mail(4, (2, 6, b"new")))
            agents.cohort.write_mail(agents.slots(3), "inbox", mail(4))
            others = [message for message in full if message[0] in {0, 3}]
            assert _listed(agents.cohort.read_mail(agents.slots(), "outbox")) == [
                *others[:3],
                (2, 6, b"new"),
                *others[3:],
            ]
            assert _listed(agents.cohort.read_mail(agents.slots(), "inbox")) == full[:9]

    def test_an_agent_that_waits_goes_on_when_it_is_woken(self, engine: Engine) -> None:
        """Not before, and only once for each wake."""
        with crew(engine, _MAIL, message_bytes=8) as agents:
            agents.begin("wait_twice")
            waiting, ready, finished = Status.WAITING, Status.READY, Status.FINISHED
            assert agents.run() == [waiting] * 4
            counts = agents.counts()
            assert agents.run() == [waiting] * 4
            assert agents.counts() == counts == [2] * 4
            some = agents.slots(1, 2)
            agents.cohort.write_mail(some, "inbox", mail(8, (1, 5, b"x"), (2, 6, b"yz")))
            agents.cohort.wake(some)
            assert agents.statuses() == [waiting, ready, ready, waiting]
            assert agents.run() == [waiting] * 4
            agents.cohort.wake(agents.slots())
            assert agents.run() == [waiting, finished, finished, waiting]
            assert agents.results("wait_twice", some) == [
                (5 << 32 | 1, _NOTHING),
                (6 << 32 | 2, _NOTHING),
            ]
            agents.cohort.wake(agents.slots())
            assert agents.run() == [finished] * 4

    @pytest.mark.parametrize("step", [1, 1_000_000])
    def test_an_agent_may_wait_in_a_loop(self, engine: Engine, step: int) -> None:
        """And keeps its locals over it, and over stops in between."""
        with crew(engine, _MAIL, message_bytes=8) as agents:
            agents.begin("add_up", [1, 2, 3, 9])
            target = 0
            for number in range(1, 10):
                while Status.READY in agents.run(target):
                    target += step
                waiting = [at for at, one in enumerate(agents.statuses()) if one == Status.WAITING]
                slots = agents.slots(*waiting)
                content = number.to_bytes(8, "little")
                messages = ((slot, 1, content) for slot in waiting)
                agents.cohort.write_mail(slots, "inbox", mail(8, *messages))
                agents.cohort.wake(slots)
            while Status.READY in agents.run(target):
                target += step
            assert agents.statuses() == [Status.FINISHED] * 4
            assert agents.results("add_up") == [(1,), (3,), (6,), (45,)]

    def test_messages_name_memory_that_must_be_there(self, engine: Engine) -> None:
        """Else the agent traps, and nothing is sent or taken."""
        with crew(engine, _MAIL, size=2, message_bytes=8) as agents:
            agents.cohort.write_mail(agents.slots(), "inbox", mail(8, (0, 1, b"x"), (1, 1, b"x")))
            for name, arguments in (("send", (1, 65_530, 7)), ("receive", (65_530, 7))):
                agents.begin(name, *arguments)
                assert agents.run() == [Status.TRAPPED] * 2
                assert {trap.kind for trap in agents.traps() if trap} == {
                    TrapKind.MEMORY_OUT_OF_BOUNDS
                }
            assert len(agents.cohort.read_mail(agents.slots(), "inbox")) == 2
            assert len(agents.cohort.read_mail(agents.slots(), "outbox")) == 0
