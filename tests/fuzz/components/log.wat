;; v0.2 policy
;; Logs more lines than it may, longer ones than it may, and some that would control a terminal.
(module
  (import "reprieve:policy/log@0.2.0" "line" (func $line (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\1b[2J\0d\0aforged\e2\80\ae\c2\9b\7f")
  ;; Nothing is freed.
  (global $free (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "reprieve:policy/handler@0.2.0#configure") (param i32 i32) (result i32) (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#decide") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (local $lines i32)
    (loop $more
      (call $line (i32.const 2) (i32.const 64) (i32.const 20))
      (call $line (i32.const 0) (i32.const 64) (i32.const 4096))
      (local.set $lines (i32.add (local.get $lines) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $lines) (i32.const 100))))
    (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#observe") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    ;; No such level, and bytes that are no text.
    (call $line (i32.const 9) (i32.const 81) (i32.const 2))
    (i32.const 0)))
