;; The program that engines are measured with which uses its memory: half a KiB of it.
(module
  (memory (export "memory") 1)

  ;; how many primes there are below n + the agent's number modulo 8, by the sieve of Eratosthenes
  (func (export "sieve") (param $agent i32) (param $n i32) (result i32)
    (local $i i32) (local $j i32) (local $count i32)
    (local.set $n (i32.add (local.get $n) (i32.and (local.get $agent) (i32.const 7))))
    (memory.fill (i32.const 0) (i32.const 0) (local.get $n))
    (local.set $i (i32.const 2))
    (block $done
      (loop $outer
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (if (i32.eqz (i32.load8_u (local.get $i)))
          (then
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (local.set $j (i32.add (local.get $i) (local.get $i)))
            (block $swept
              (loop $inner
                (br_if $swept (i32.ge_u (local.get $j) (local.get $n)))
                (i32.store8 (local.get $j) (i32.const 1))
                (local.set $j (i32.add (local.get $j) (local.get $i)))
                (br $inner)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $outer)))
    (local.get $count)))
