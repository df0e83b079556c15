;; A hand-written policy for contract 0.1.0: after a login that the mail server accepts, the user's
;; logins are refused for a minute. A login with a changed password passes, and if the mail server
;; rejects it, the user's minute ends.
;;
;; `decide` attaches the note "seen" to each pass, and `observe` stores the note of the outcome: if
;; the host lost it, the next login would pass.
;;
;; Numbers in `offset=` are those of the records in ../wit/policy.wit in the canonical ABI of the
;; component model.
(module
  (import "reprieve:policy/store@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "reprieve:policy/store@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i32 i32)))
  (import "reprieve:policy/store@0.1.0" "increment" (func $increment (param i32 i32 i32 i32 i32 i32)))
  (import "reprieve:policy/store@0.1.0" "delete" (func $delete (param i32 i32) (result i32)))
  (import "reprieve:policy/log@0.1.0" "line" (func $line (param i32 i32 i32)))

  (memory (export "memory") 3)
  ;; The arguments that the host allocates for a call begin here; each call starts empty.
  (global $heap i32 (i32.const 4096))
  (global $end (mut i32) (i32.const 4096))

  ;; Address 16: results of imported functions. Address 64: results of exported functions.
  (data (i32.const 128) "seen")
  (data (i32.const 160) "just-seen")
  (data (i32.const 192) "logins")
  (data (i32.const 224) "this policy has no settings")
  (data (i32.const 256) "a login was accepted")

  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    ;; The host knows all sizes in advance, so no block is ever enlarged.
    (local.set $start
      (i32.and
        (i32.add (global.get $end) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $end (i32.add (local.get $start) (local.get $size)))
    (if (i32.gt_u (global.get $end) (i32.mul (memory.size) (i32.const 65536)))
      (then unreachable))
    (local.get $start))

  ;; configure: func(settings: list<tuple<string, string>>) -> result<_, string>
  (func (export "configure") (param $settings i32) (param $count i32) (result i32)
    (i32.store8 (i32.const 64) (i32.ne (local.get $count) (i32.const 0)))
    (i32.store (i32.const 68) (i32.const 224))
    (i32.store (i32.const 72) (i32.const 27))
    (global.set $end (global.get $heap))
    (i32.const 64))

  ;; decide: func(login: login) -> verdict
  (func (export "decide") (param $login i32) (result i32)
    (memory.fill (i32.const 64) (i32.const 0) (i32.const 48))
    ;; login.claim.user
    (call $get (i32.load offset=76 (local.get $login)) (i32.load offset=80 (local.get $login)) (i32.const 16))
    (if (i32.and
          (i32.load8_u (i32.const 16))                             ;; some
          (i32.ne
            (i32.load8_u offset=97 (local.get $login))             ;; login.claim.standing
            (i32.const 1)))                                        ;; changed
      (then
        (i32.store8 (i32.const 64) (i32.const 1))               ;; deny
        (i32.store8 (i32.const 68) (i32.const 3))               ;; manner: refuse
        (i32.store8 (i32.const 69) (i32.const 1))               ;; code: some
        (i32.store8 (i32.const 70) (i32.const 1))               ;; in-use
        (i32.store (i32.const 72) (i32.const 1))                ;; retry-after: some
        (i32.store (i32.const 76) (i32.const 60))
        (i32.store (i32.const 80) (i32.const 160))              ;; reason
        (i32.store (i32.const 84) (i32.const 9))
        (i32.store (i32.const 88) (i32.const 5)))               ;; delay-ms
      (else
        (i32.store (i32.const 92) (i32.const 1))                ;; note: some
        (i32.store (i32.const 96) (i32.const 128))
        (i32.store (i32.const 100) (i32.const 4))
        (i32.store (i32.const 104) (i32.const 2))))             ;; delay-ms
    (global.set $end (global.get $heap))
    (i32.const 64))

  ;; observe: func(outcome: outcome)
  (func (export "observe") (param $outcome i32)
    (if (i32.and
          (i32.eqz (i32.load8_u offset=144 (local.get $outcome)))  ;; ending: authenticated
          (i32.load8_u offset=148 (local.get $outcome)))           ;; note: some
      (then
        ;; Sets the user's key to the note, for 60 seconds.
        (call $set
          (i32.load offset=76 (local.get $outcome)) (i32.load offset=80 (local.get $outcome))
          (i32.load offset=152 (local.get $outcome)) (i32.load offset=156 (local.get $outcome))
          (i32.const 1) (i32.const 60)
          (i32.const 16))
        ;; Counts accepted logins, without a time to live.
        (call $increment (i32.const 192) (i32.const 6) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 16))
        (call $line (i32.const 1) (i32.const 256) (i32.const 20))))
    (if (i32.eq (i32.load8_u offset=144 (local.get $outcome)) (i32.const 1))  ;; ending: rejected
      (then
        (drop (call $delete (i32.load offset=76 (local.get $outcome)) (i32.load offset=80 (local.get $outcome))))))
    (global.set $end (global.get $heap)))
)
