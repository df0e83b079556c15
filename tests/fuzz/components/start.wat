;; v0.2 policy
;; Traps before it is configured.
(module
  (memory (export "memory") 1)
  ;; Nothing is freed.
  (global $free (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "_initialize") (i32.store (i32.const -4) (i32.const 0)))
  (func (export "reprieve:policy/handler@0.2.0#configure") (param i32 i32) (result i32) (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#decide") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#observe") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0)))
