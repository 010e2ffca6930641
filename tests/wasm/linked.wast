;; Two instances that share: agents share nothing, so their engines refuse the second one.
(module $A
  (memory (export "m") 1)
  (func (export "load") (result i32) (i32.load8_u (i32.const 0))))
(assert_return (invoke "load") (i32.const 0))
(register "A" $A)
(module
  (import "A" "m" (memory 1))
  (func (export "store") (param i32) (i32.store8 (i32.const 0) (local.get 0))))
(invoke "store" (i32.const 5))
(assert_return (invoke $A "load") (i32.const 5))
