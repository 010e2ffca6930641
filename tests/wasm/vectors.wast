;; Vectors and references in the calls themselves.
(module
  (func (export "add") (param v128 v128) (result v128) (i32x4.add (local.get 0) (local.get 1)))
  (func (export "div") (param v128) (result v128) (f32x4.div (local.get 0) (local.get 0)))
  (func (export "same") (param externref) (result externref) (local.get 0))
  (func $f (export "function") (result funcref) (ref.func $f)))
(assert_return
  (invoke "add" (v128.const i32x4 1 2 3 -1) (v128.const i32x4 1 1 1 1))
  (v128.const i32x4 2 3 4 0))
(assert_return
  (invoke "div" (v128.const f32x4 0 1 2 inf))
  (v128.const f32x4 nan:canonical 1 1 nan:canonical))
(assert_return (invoke "same" (ref.extern 3)) (ref.extern 3))
(assert_return (invoke "same" (ref.extern 0)) (ref.extern 0))
(assert_return (invoke "same" (ref.null extern)) (ref.null extern))
