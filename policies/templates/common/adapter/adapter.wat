;; Implements WASI 0.1 for a policy with the WASI 0.2 of the host. `build` adds it to the component.
;;
;; It uses no memory. The usual adapter takes its memory from the guest's, and Go's heap then grows
;; over it.
;;
;; A policy has a clock that stands still at the time of the login, randomness, and output that
;; becomes log lines. There are no files, sockets, environment variables or arguments: those
;; functions fail.
(module
  (import "env" "memory" (memory 0))
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $get_stderr (result i32)))
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get_stdout (result i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))

  ;; The streams, -1 before their first use. Not i32, which tools mistake for a stack pointer.
  (global $stdout (mut i64) (i64.const -1))
  (global $stderr (mut i64) (i64.const -1))

  ;; Clocks and randomness.
  (global $time (mut i64) (i64.const 0))
  (global $held (mut i32) (i32.const 0))
  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $at i32) (result i32)
    (if (i32.eqz (global.get $held)) (then (global.set $time (call $now))))
    (i64.store (local.get $at) (global.get $time))
    (i32.const 0))
  ;; Not of WASI: while the clock is held, it shows the last time. Go holds it while the host asks for
  ;; memory, when nothing of the host can be called.
  (func (export "hold_clock") (param $held i32)
    (global.set $held (local.get $held)))
  (func (export "clock_res_get") (param $clock i32) (param $at i32) (result i32)
    (i64.store (local.get $at) (i64.const 1000000))
    (i32.const 0))
  (func (export "random_get") (param $at i32) (param $size i32) (result i32)
    (local $word i64)
    (block $done
      (loop $words
        (br_if $done (i32.lt_u (local.get $size) (i32.const 8)))
        (i64.store (local.get $at) (call $random))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $size (i32.sub (local.get $size) (i32.const 8)))
        (br $words)))
    (local.set $word (call $random))
    (block $done
      (loop $bytes
        (br_if $done (i32.eqz (local.get $size)))
        (i64.store8 (local.get $at) (local.get $word))
        (local.set $word (i64.shr_u (local.get $word) (i64.const 8)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $size (i32.sub (local.get $size) (i32.const 1)))
        (br $bytes)))
    (i32.const 0))
  ;; Time stands still: a sleep returns its first event at once.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $size i32) (param $events i32) (result i32)
    (if (i32.eqz (local.get $size)) (then (return (i32.const 28)))) ;; EINVAL
    (i64.store (local.get $out) (i64.load (local.get $in)))
    (i64.store offset=8 (local.get $out) ;; no error, and the type of the event
      (i64.shl (i64.load8_u offset=8 (local.get $in)) (i64.const 16)))
    (i64.store offset=16 (local.get $out) (i64.const 0))
    (i64.store offset=24 (local.get $out) (i64.const 0))
    (i32.store (local.get $events) (i32.const 1))
    (i32.const 0))
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; Output, in chunks of up to 4096 bytes. The host splits it into lines.
  (func $stream (param $fd i32) (result i32)
    (if (i32.eq (local.get $fd) (i32.const 1)) (then
      (if (i64.lt_s (global.get $stdout) (i64.const 0))
        (then (global.set $stdout (i64.extend_i32_u (call $get_stdout)))))
      (return (i32.wrap_i64 (global.get $stdout)))))
    (if (i64.lt_s (global.get $stderr) (i64.const 0))
      (then (global.set $stderr (i64.extend_i32_u (call $get_stderr)))))
    (i32.wrap_i64 (global.get $stderr)))
  (func (export "fd_write") (param $fd i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $stream i32) (local $at i32) (local $left i32) (local $size i32) (local $sum i32)
    (local $saved i64)
    (if (i32.gt_u (i32.sub (local.get $fd) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8)))) ;; EBADF
    (local.set $stream (call $stream (local.get $fd)))
    ;; The host writes a result of 12 bytes, but there is room for four. Save the eight bytes after
    ;; them, and restore them at the end.
    (local.set $saved (i64.load offset=4 align=4 (local.get $written)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.load (local.get $pieces)))
        (local.set $left (i32.load offset=4 (local.get $pieces)))
        (local.set $sum (i32.add (local.get $sum) (local.get $left)))
        (block $written_all
          (loop $more
            (br_if $written_all (i32.eqz (local.get $left)))
            (local.set $size (select (i32.const 4096) (local.get $left)
              (i32.gt_u (local.get $left) (i32.const 4096))))
            (call $write (local.get $stream) (local.get $at) (local.get $size) (local.get $written))
            (local.set $at (i32.add (local.get $at) (local.get $size)))
            (local.set $left (i32.sub (local.get $left) (local.get $size)))
            (br $more)))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i64.store offset=4 align=4 (local.get $written) (local.get $saved))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; Standard input is empty.
  (func (export "fd_read") (param $fd i32) (param $pieces i32) (param $count i32) (param $read i32) (result i32)
    (if (local.get $fd) (then (return (i32.const 8))))
    (i32.store (local.get $read) (i32.const 0))
    (i32.const 0))
  ;; The three streams are character devices.
  (func (export "fd_fdstat_get") (param $fd i32) (param $at i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (i64.store (local.get $at) (i64.const 2))
    (i64.store offset=8 (local.get $at) (i64.const 66)) ;; rights to read and write
    (i64.store offset=16 (local.get $at) (i64.const 0))
    (i32.const 0))
  (func (export "fd_fdstat_set_flags") (param $fd i32) (param $flags i32) (result i32) (i32.const 0))

  (func $none (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))
  (func $nothing (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $nothing))
  (export "environ_get" (func $nothing))

  (func (export "proc_exit") (param $status i32)
    (call $exit (i32.ne (local.get $status) (i32.const 0)))
    unreachable)
  (func (export "proc_raise") (param $signal i32) (result i32) unreachable)

  ;; Not supported: EBADF.
  (func $bad1 (param i32) (result i32) (i32.const 8))
  (export "fd_close" (func $bad1))
  (export "fd_datasync" (func $bad1))
  (export "fd_sync" (func $bad1))
  (func $bad2 (param i32 i32) (result i32) (i32.const 8))
  (export "fd_filestat_get" (func $bad2))
  (export "fd_prestat_get" (func $bad2))
  (export "fd_renumber" (func $bad2))
  (export "fd_tell" (func $bad2))
  (export "sock_shutdown" (func $bad2))
  (func $bad3 (param i32 i32 i32) (result i32) (i32.const 8))
  (export "fd_prestat_dir_name" (func $bad3))
  (export "path_create_directory" (func $bad3))
  (export "path_remove_directory" (func $bad3))
  (export "path_unlink_file" (func $bad3))
  (export "sock_accept" (func $bad3))
  (func $bad5 (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_filestat_get" (func $bad5))
  (export "path_symlink" (func $bad5))
  (export "sock_send" (func $bad5))
  (func $bad6 (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_readlink" (func $bad6))
  (export "path_rename" (func $bad6))
  (export "sock_recv" (func $bad6))
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func $bad_at (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (export "fd_pread" (func $bad_at))
  (export "fd_pwrite" (func $bad_at))
  (export "fd_readdir" (func $bad_at))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8)))
