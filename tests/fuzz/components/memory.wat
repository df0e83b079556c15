;; v0.2 policy
;; Asks for more memory than it may have: in `decide` page by page, in `observe` at once, and before
;; that for more than it declares itself, which the engine refuses.
(module
  (memory (export "memory") 1 20)
  ;; Nothing is freed.
  (global $free (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "reprieve:policy/handler@0.2.0#configure") (param i32 i32) (result i32) (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#decide") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (loop $more
      (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
    (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#observe") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (drop (memory.grow (i32.const 30)))
    (drop (memory.grow (i32.const 19)))
    (i32.const 0)))
