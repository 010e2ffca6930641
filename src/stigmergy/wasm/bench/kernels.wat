;; Programs that engines are measured with, without a memory. Each takes an agent's number and a size.
(module
  ;; xorshift32, `n` steps from a seed made of the agent's number
  (func (export "xorshift") (param $agent i32) (param $n i32) (result i32)
    (local $x i32)
    (local.set $x (i32.or (i32.mul (local.get $agent) (i32.const 0x9E3779B1)) (i32.const 1)))
    (loop $next
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))

  ;; the longest Collatz sequence among `n` numbers from the agent's own on
  (func (export "collatz") (param $agent i32) (param $n i32) (result i32)
    (local $x i32) (local $steps i32) (local $longest i32)
    (loop $next
      (local.set $x (i32.add (i32.add (local.get $agent) (local.get $n)) (i32.const 1)))
      (local.set $steps (i32.const 0))
      (block $done
        (loop $step
          (br_if $done (i32.le_u (local.get $x) (i32.const 1)))
          (if (i32.and (local.get $x) (i32.const 1))
            (then (local.set $x
              (i32.add (i32.mul (local.get $x) (i32.const 3)) (i32.const 1))))
            (else (local.set $x (i32.shr_u (local.get $x) (i32.const 1)))))
          (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
          (br $step)))
      (if (i32.gt_u (local.get $steps) (local.get $longest))
        (then (local.set $longest (local.get $steps))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $longest))

  ;; the n'th Fibonacci number modulo 2^64, its lower half, from a start made of the agent's number
  (func (export "fib") (param $agent i32) (param $n i32) (result i32)
    (local $a i64) (local $b i64) (local $c i64)
    (local.set $a (i64.extend_i32_u (local.get $agent)))
    (local.set $b (i64.const 1))
    (loop $next
      (local.set $c (i64.add (local.get $a) (local.get $b)))
      (local.set $a (local.get $b))
      (local.set $b (local.get $c))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.wrap_i64 (local.get $a))))
