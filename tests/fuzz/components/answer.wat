;; v0.2 policy
;; Refuses, with all details. The second user gets a text with a line end, which is no verdict.
(module
  (import "reprieve:policy/answer@0.2.0" "reason" (func $reason (param i32 i32)))
  (import "reprieve:policy/answer@0.2.0" "code" (func $code (param i32)))
  (import "reprieve:policy/answer@0.2.0" "text" (func $text (param i32 i32)))
  (import "reprieve:policy/answer@0.2.0" "otherwise" (func $otherwise (param i32)))
  (import "reprieve:policy/answer@0.2.0" "despite-new-mail" (func $despite))
  (import "reprieve:policy/answer@0.2.0" "note" (func $note (param i32 i32)))
  (import "reprieve:policy/answer@0.2.0" "delay-ms" (func $delay (param i32)))
  (memory (export "memory") 1)
  ;; The verdict: refuse, for a minute, and four numbers.
  (data (i32.const 0) "\01\03\00\00\01\00\00\00\3c\00\00\00\01\00\00\00\01\00\00\00\02\00\00\00")
  (data (i32.const 64) "later\0a")
  ;; Nothing is freed.
  (global $free (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "reprieve:policy/handler@0.2.0#configure") (param i32 i32) (result i32) (i32.const 16384))
  (func (export "reprieve:policy/handler@0.2.0#decide") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $reason (i32.const 64) (i32.const 5))
    (call $code (i32.const 4))
    (call $otherwise (i32.const 2))
    (call $despite)
    (call $delay (i32.const -1))
    (call $note (i32.const 64) (i32.const 4096))
    ;; The last parameter but three is the first number that is remembered.
    (call $text (i32.const 64) (i32.add (i32.const 5) (local.get 11)))
    (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#observe") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 12)))
