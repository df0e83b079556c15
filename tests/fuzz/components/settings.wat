;; v0.2 policy-with-all
;; Describes a setting with words that would control a terminal, and is told how sessions end.
(module
  (memory (export "memory") 1)
  ;; The list: two settings at 64, the second one without words.
  (data (i32.const 0) "\40\00\00\00\02\00\00\00")
  (data (i32.const 64) "\00\02\00\00\01\00\00\00" "\01\02\00\00\08\00\00\00" "\01\00\00\00\01\02\00\00\05\00\00\00" "\00\02\00\00\09\00\00\00")
  (data (i32.const 116) "\01")
  (data (i32.const 512) "?\1b[2J|\e2\80\ae")
  ;; Nothing is freed.
  (global $free (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "reprieve:policy/settings@0.2.0#describe") (result i32) (i32.const 0))
  (func (export "reprieve:policy/handler@0.2.0#configure") (param i32 i32) (result i32) (i32.const 4096))
  (func (export "reprieve:policy/handler@0.2.0#decide") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "reprieve:policy/handler@0.2.0#observe") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "reprieve:policy/sessions@0.2.0#ended") (param i32) (result i32) (local.get 0)))
