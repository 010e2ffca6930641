"""Modules that more than one test runs."""

__all__ = ["RING"]

RING = """(module
  (import "stigmergy" "agent_id" (func $me (result i32)))
  (import "stigmergy" "send" (func $send (param i32 i32 i32) (result i32)))
  (import "stigmergy" "receive" (func $receive (param i32 i32) (result i64)))
  (import "stigmergy" "wait" (func $wait))
  (memory 1)
  (func (export "ring") (param $agents i32) (param $rounds i32) (result i32)
    (i32.store (i32.const 0) (call $me))
    (loop $round
      (drop (call $send
        (i32.rem_u (i32.add (call $me) (i32.const 1)) (local.get $agents))
        (i32.const 0) (i32.const 4)))
      (call $wait)
      (drop (call $receive (i32.const 0) (i32.const 4)))
      (br_if $round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (i32.load (i32.const 0))))"""
"""Each agent passes its number on to the next, for so many rounds, and tells what came last."""
