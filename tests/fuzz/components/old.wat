;; v0.1 policy
;; For the contract 0.1: denies, and counts in the store.
(module
  (import "reprieve:policy/store@0.1.0" "increment" (func $increment (param i32 i32 i32 i32 i32 i32)))
  (import "reprieve:policy/store@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i32 i32)))
  (import "reprieve:policy/log@0.1.0" "line" (func $line (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\01")
  ;; Nothing is freed.
  (global $free (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
  (func (export "decide") (param i32) (result i32)
    (call $increment (i32.const 0) (i32.const 1) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 128))
    (call $line (i32.const 3) (i32.const 0) (i32.const 1))
    (i32.const 0))
  (func (export "observe") (param i32)
    (call $set (i32.const 0) (i32.const 5000) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 128))))
