;; The default policy, `interval`, written by hand in WebAssembly: the same settings and verdicts.
;;
;; Records are passed to a function one field after the other, and returned in memory. A string or
;; a list is an address and a length.
(module
  (import "reprieve:policy/log@0.2.0" "line" (func $log_line (param $level i32) (param $text i32) (param $length i32)))
  (import "reprieve:policy/store@0.2.0" "usage" (func $store_usage (result i32)))
  (import "reprieve:policy/store@0.2.0" "quota" (func $store_quota (result i32)))
  (import "reprieve:policy/store@0.2.0" "clear" (func $store_clear))

  (memory (export "memory") 2)
  ;; Addresses in memory. Results: 32 bytes; the list of settings: 8 + 7 * 36 bytes.
  (global $result i32 (i32.const 0))
  (global $described i32 (i32.const 32))
  (global $texts i32 (i32.const 1024))
  (data (i32.const 512) "memory-limit reached: every user is forgotten")
  (data (i32.const 576) "`busy-after` is too large")
  (data (i32.const 608) "the store's quota is nearly reached before memory-limit: every user is forgotten")
  ;; Name, type, default and description of each setting.
  (data (i32.const 1024)
    "interval\00duration\0010m\00"
    "How long Reprieve answers a user after a login; with 0s every login passes.\00"
    "reset\00daily|never\00daily\00"
    "Whether each user passes once on a new day.\00"
    "memory-limit\00size\0032MiB\00"
    "Maximum size of the remembered users; when it is exceeded, all users are forgotten.\00"
    "manner\00unchanged|empty|busy|refuse|disconnect\00unchanged\00"
    "How a denial is shown.\00"
    "start\00authenticated|login\00authenticated\00"
    "Whether the clock starts when the mail server accepts a login, or when a login passes.\00"
    "upgrades\00count|ignore\00count\00"
    "Whether a denied login that continues at the mail server starts the clock again.\00"
    "busy-after\00number\000\00"
    "Upgrades in a row after which a denial is shown as busy; 0 for never.\00")
  (global $settings i32 (i32.const 7))
  (global $size_of_setting i32 (i32.const 36))

  ;; What a user takes in the store at most, unless their name is very long.
  (global $entry_bytes i64 (i64.const 512))

  ;; The settings' values.
  (global $interval_ms (mut i64) (i64.const 600000))
  (global $daily_reset (mut i32) (i32.const 1))
  (global $memory_limit (mut i32) (i32.const 33554432))
  (global $manner (mut i32) (i32.const 0))
  (global $start_at_login (mut i32) (i32.const 0))
  (global $count_upgrades (mut i32) (i32.const 1))
  (global $busy_after (mut i32) (i32.const 0))

  ;; Memory for the arguments of `configure`, which is called once; nothing is freed.
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1)
        (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1)))))
      unreachable)
    (local.get $at))

  ;; Writes address and length of the text at $text to $at. Returns the address after the text.
  (func $write_text (param $at i32) (param $text i32) (result i32)
    (local $end i32)
    (local.set $end (local.get $text))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $at) (local.get $text))
    (i32.store offset=4 (local.get $at) (i32.sub (local.get $end) (local.get $text)))
    (i32.add (local.get $end) (i32.const 1)))

  (func $describe (export "reprieve:policy/settings@0.2.0#describe") (result i32)
    (local $at i32) (local $text i32) (local $left i32)
    (local.set $at (i32.add (global.get $described) (i32.const 8)))
    (local.set $text (global.get $texts))
    (local.set $left (global.get $settings))
    (i32.store (global.get $described) (local.get $at))
    (i32.store offset=4 (global.get $described) (local.get $left))
    (loop $next
      (local.set $text (call $write_text (local.get $at) (local.get $text)))
      (local.set $text (call $write_text (i32.add (local.get $at) (i32.const 8)) (local.get $text)))
      (i32.store offset=16 (local.get $at) (i32.const 1)) ;; It has a default.
      (local.set $text (call $write_text (i32.add (local.get $at) (i32.const 20)) (local.get $text)))
      (local.set $text (call $write_text (i32.add (local.get $at) (i32.const 28)) (local.get $text)))
      (local.set $at (i32.add (local.get $at) (global.get $size_of_setting)))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (global.get $described))

  ;; The position of a name among the settings. Reprieve has checked that it is there.
  (func $index_of (param $name i32) (param $length i32) (result i32)
    (local $setting i32) (local $index i32) (local $at i32)
    (local.set $setting (i32.load (call $describe)))
    (loop $next
      (block $differs
        (br_if $differs (i32.ne (i32.load offset=4 (local.get $setting)) (local.get $length)))
        (local.set $at (i32.const 0))
        (loop $same
          (br_if $differs (i32.ne
            (i32.load8_u (i32.add (local.get $name) (local.get $at)))
            (i32.load8_u (i32.add (i32.load (local.get $setting)) (local.get $at)))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $same (i32.lt_u (local.get $at) (local.get $length))))
        (return (local.get $index)))
      (local.set $setting (i32.add (local.get $setting) (global.get $size_of_setting)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $index) (global.get $settings))))
    unreachable)

  ;; The factor of a unit of durations or sizes.
  (func $factor (param $first i32) (param $second i32) (result i64)
    (if (i32.eq (local.get $first) (i32.const 0x73)) (then (return (i64.const 1000)))) ;; s
    (if (i32.eq (local.get $first) (i32.const 0x6d)) (then ;; ms, m
      (return (select (i64.const 1) (i64.const 60000) (i32.eq (local.get $second) (i32.const 0x73))))))
    (if (i32.eq (local.get $first) (i32.const 0x68)) (then (return (i64.const 3600000)))) ;; h
    (if (i32.eq (local.get $first) (i32.const 0x64)) (then (return (i64.const 86400000)))) ;; d
    (if (i32.eq (local.get $first) (i32.const 0x4b)) (then (return (i64.const 0x400)))) ;; KiB
    (if (i32.eq (local.get $first) (i32.const 0x4d)) (then (return (i64.const 0x100000)))) ;; MiB
    (if (i32.eq (local.get $first) (i32.const 0x47)) (then (return (i64.const 0x40000000)))) ;; GiB
    (i64.const 1)) ;; B

  ;; The sum of numbers with units, such as `9m30s`. Reprieve has checked that it is one and fits.
  (func $sum (param $at i32) (param $length i32) (result i64)
    (local $end i32) (local $byte i32) (local $sum i64) (local $number i64)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $byte (i32.load8_u (local.get $at)))
        (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 0x30)) (i32.const 10))
          (then
            (local.set $number (i64.add
              (i64.mul (local.get $number) (i64.const 10))
              (i64.extend_i32_u (i32.sub (local.get $byte) (i32.const 0x30)))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next)))
        (if (i32.le_u (local.get $byte) (i32.const 0x2b)) ;; A space, or the sign of a number.
          (then
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next)))
        ;; The byte after a unit of one letter is no `s`: it is a digit, a space, or not a part of the text.
        (local.set $sum (i64.add (local.get $sum) (i64.mul (local.get $number) (call $factor
          (local.get $byte)
          (if (result i32) (i32.lt_u (i32.add (local.get $at) (i32.const 1)) (local.get $end))
            (then (i32.load8_u offset=1 (local.get $at)))
            (else (i32.const 0)))))))
        (local.set $number (i64.const 0))
        (loop $letters
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
          (br_if $letters (i32.ge_u (i32.load8_u (local.get $at)) (i32.const 0x41))))
        (br $next)))
    (i64.add (local.get $sum) (local.get $number)))

  ;; The manner of a word, by its first letter.
  (func $manner_of (param $first i32) (result i32)
    (if (i32.eq (local.get $first) (i32.const 0x75)) (then (return (i32.const 0)))) ;; unchanged
    (if (i32.eq (local.get $first) (i32.const 0x65)) (then (return (i32.const 1)))) ;; empty
    (if (i32.eq (local.get $first) (i32.const 0x62)) (then (return (i32.const 2)))) ;; busy
    (if (i32.eq (local.get $first) (i32.const 0x72)) (then (return (i32.const 3)))) ;; refuse
    (i32.const 4)) ;; disconnect

  ;; Applies a setting. Returns whether it is valid.
  (func $configure_one (param $name i32) (param $name_length i32) (param $value i32) (param $length i32) (result i32)
    (local $first i32) (local $number i64)
    (local.set $first (i32.load8_u (local.get $value)))
    (block $busy_after
      (block $upgrades
        (block $start
          (block $manner
            (block $memory_limit
              (block $reset
                (block $interval
                  (br_table $interval $reset $memory_limit $manner $start $upgrades $busy_after
                    (call $index_of (local.get $name) (local.get $name_length))))
                (global.set $interval_ms (call $sum (local.get $value) (local.get $length)))
                (return (i32.const 1)))
              (global.set $daily_reset (i32.eq (local.get $first) (i32.const 0x64))) ;; daily
              (return (i32.const 1)))
            (local.set $number (call $sum (local.get $value) (local.get $length)))
            (global.set $memory_limit (select (i32.const -1) (i32.wrap_i64 (local.get $number))
              (i64.gt_u (local.get $number) (i64.const 0xffffffff))))
            (return (i32.const 1)))
          (global.set $manner (call $manner_of (local.get $first)))
          (return (i32.const 1)))
        (global.set $start_at_login (i32.eq (local.get $first) (i32.const 0x6c))) ;; login
        (return (i32.const 1)))
      (global.set $count_upgrades (i32.eq (local.get $first) (i32.const 0x63))) ;; count
      (return (i32.const 1)))
    (local.set $number (call $sum (local.get $value) (local.get $length)))
    (global.set $busy_after (i32.wrap_i64 (local.get $number)))
    (i64.le_u (local.get $number) (i64.const 0xffffffff)))

  (func (export "reprieve:policy/handler@0.2.0#configure") (param $at i32) (param $count i32) (result i32)
    (i32.store8 (global.get $result) (i32.const 0))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (if (i32.eqz (call $configure_one
              (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))
              (i32.load offset=8 (local.get $at)) (i32.load offset=12 (local.get $at))))
          (then
            (i32.store8 (global.get $result) (i32.const 1))
            (i32.store offset=4 (global.get $result) (i32.const 576))
            (i32.store offset=8 (global.get $result) (i32.const 25))
            (br $done)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (global.get $result))

  ;; What is remembered about a user, as four numbers:
  ;; - first: the second when the clock was started; 0 if it is not running,
  ;; - second: that moment's millisecond in the upper 11 bits, and its date in the others,
  ;; - third: upgrades since a login passed.
  (func $date (param $year i32) (param $month i32) (param $day i32) (result i32)
    (local.set $year (select (local.get $year) (i32.sub (i32.const 0) (local.get $year))
      (i32.ge_s (local.get $year) (i32.const 0))))
    (i32.or
      (i32.or
        (i32.shl (i32.and (local.get $year) (i32.const 0xfff)) (i32.const 9))
        (i32.shl (local.get $month) (i32.const 5)))
      (local.get $day)))

  ;; Writes a clock that was started at a time.
  (func $write_clock (param $at i32) (param $unix i32) (param $millisecond i32) (param $date i32)
    (i32.store (local.get $at) (select (local.get $unix) (i32.const 1) (local.get $unix)))
    (i32.store offset=4 (local.get $at)
      (i32.or (i32.shl (local.get $millisecond) (i32.const 21)) (local.get $date))))

  (func $ms (param $second i32) (param $millisecond i32) (result i64)
    (i64.add
      (i64.mul (i64.extend_i32_u (local.get $second)) (i64.const 1000))
      (i64.extend_i32_u (local.get $millisecond))))

  ;; Milliseconds until a login would pass; 0 if this one does.
  (func $wait_ms (param $unix i32) (param $millisecond i32) (param $date i32) (param $first i32) (param $second i32)
    (result i64)
    (local $now i64) (local $last i64) (local $elapsed i64)
    (if (i32.eqz (local.get $first)) (then (return (i64.const 0))))
    (if (i32.and (global.get $daily_reset)
          (i32.ne (i32.and (local.get $second) (i32.const 0x1fffff)) (local.get $date)))
      (then (return (i64.const 0))))
    (local.set $now (call $ms (local.get $unix) (local.get $millisecond)))
    (local.set $last (call $ms (local.get $first) (i32.shr_u (local.get $second) (i32.const 21))))
    ;; If the clock was set back, the user passes.
    (if (i64.lt_u (local.get $now) (local.get $last)) (then (return (i64.const 0))))
    (local.set $elapsed (i64.sub (local.get $now) (local.get $last)))
    (if (i64.ge_u (local.get $elapsed) (global.get $interval_ms)) (then (return (i64.const 0))))
    (i64.sub (global.get $interval_ms) (local.get $elapsed)))

  (func $min (param $one i64) (param $other i64) (result i64)
    (select (local.get $one) (local.get $other) (i64.lt_u (local.get $one) (local.get $other))))

  ;; Rounds up to seconds, at most until midnight if the day resets.
  (func $retry_after (param $ms i64) (param $second_of_day i32) (result i32)
    (local $seconds i64)
    (local.set $seconds (call $min (i64.const 0xffffffff)
      (i64.add
        (i64.div_u (local.get $ms) (i64.const 1000))
        (i64.extend_i32_u (i64.ne (i64.rem_u (local.get $ms) (i64.const 1000)) (i64.const 0))))))
    (if (global.get $daily_reset)
      (then
        (local.set $seconds (call $min (local.get $seconds)
          (i64.sub (i64.const 86400)
            (call $min (i64.const 86400) (i64.extend_i32_u (local.get $second_of_day))))))))
    (i32.wrap_i64 (local.get $seconds)))

  ;; Above the limit, all users are forgotten. If the store has no room for another user, too.
  (func $limit_memory
    (local $used i32)
    (local.set $used (call $store_usage))
    (if (i32.gt_u (local.get $used) (global.get $memory_limit))
      (then
        (call $log_line (i32.const 1) (i32.const 512) (i32.const 45)) ;; info
        (call $store_clear)
        (return)))
    (if (i64.gt_u
          (i64.add (i64.extend_i32_u (local.get $used)) (global.get $entry_bytes))
          (i64.extend_i32_u (call $store_quota)))
      (then
        (call $log_line (i32.const 2) (i32.const 608) (i32.const 80)) ;; warn
        (call $store_clear))))

  (func (export "reprieve:policy/handler@0.2.0#decide")
    (param $standing i32) (param $mechanism i32) (param $encrypted i32) (param $freshness i32)
    (param $unix i32) (param $millisecond i32) (param $year i32) (param $month i32) (param $day i32)
    (param $weekday i32) (param $second_of_day i32)
    (param $first i32) (param $second i32) (param $third i32) (param $fourth i32)
    (result i32)
    (local $wait_ms i64) (local $date i32)
    (memory.fill (global.get $result) (i32.const 0) (i32.const 32))
    (if (i64.eqz (global.get $interval_ms)) (then (return (global.get $result))))
    (local.set $date (call $date (local.get $year) (local.get $month) (local.get $day)))
    (local.set $wait_ms (call $wait_ms
      (local.get $unix) (local.get $millisecond) (local.get $date) (local.get $first) (local.get $second)))
    (if (i64.eqz (local.get $wait_ms))
      (then
        (if (global.get $start_at_login)
          (then
            (call $limit_memory)
            ;; Of simultaneous logins, the first to be remembered passes; the others are decided again.
            (i32.store8 offset=12 (global.get $result) (i32.const 1))
            (call $write_clock (i32.add (global.get $result) (i32.const 16))
              (local.get $unix) (local.get $millisecond) (local.get $date))))
        (return (global.get $result))))
    ;; If the password is not known, let the mail server answer `refuse` and `disconnect`.
    (if (i32.and (i32.ge_u (global.get $manner) (i32.const 3)) (i32.ne (local.get $standing) (i32.const 0)))
      (then (return (global.get $result))))
    (i32.store8 (global.get $result) (i32.const 1))
    (i32.store8 offset=1 (global.get $result)
      (select (i32.const 2) (global.get $manner) ;; busy
        (i32.and
          (i32.ne (global.get $busy_after) (i32.const 0))
          (i32.ge_u (local.get $third) (global.get $busy_after)))))
    (i32.store8 offset=4 (global.get $result) (i32.const 1))
    (i32.store offset=8 (global.get $result)
      (call $retry_after (local.get $wait_ms) (local.get $second_of_day)))
    (global.get $result))

  (func (export "reprieve:policy/handler@0.2.0#observe")
    (param $ending i32) (param $standing i32) (param $upgrade i32)
    (param $unix i32) (param $millisecond i32) (param $year i32) (param $month i32) (param $day i32)
    (param $weekday i32) (param $second_of_day i32) (param $latency_ms i32)
    (param $first i32) (param $second i32) (param $third i32) (param $fourth i32)
    (result i32)
    (i32.store8 (global.get $result) (i32.const 0))
    (if (i32.or (i64.eqz (global.get $interval_ms)) (i32.ne (local.get $ending) (i32.const 0))) ;; authenticated
      (then (return (global.get $result))))
    (i32.store8 (global.get $result) (i32.const 1))
    (i32.store offset=4 (global.get $result) (local.get $first))
    (i32.store offset=8 (global.get $result) (local.get $second))
    (i32.store offset=16 (global.get $result) (local.get $fourth))
    (if (select (global.get $count_upgrades) (i32.eqz (global.get $start_at_login)) (local.get $upgrade))
      (then (call $write_clock (i32.add (global.get $result) (i32.const 4))
        (local.get $unix) (local.get $millisecond)
        (call $date (local.get $year) (local.get $month) (local.get $day)))))
    ;; The number of upgrades stops at the largest one.
    (i32.store offset=12 (global.get $result)
      (select
        (i32.add (local.get $third) (i32.ne (local.get $third) (i32.const -1)))
        (i32.const 0)
        (local.get $upgrade)))
    (call $limit_memory)
    (global.get $result)))
