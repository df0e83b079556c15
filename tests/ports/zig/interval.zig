//! The default policy, `interval`, ported to Zig: the same settings and verdicts.
const std = @import("std");
// The bindings for C, which the build translates to Zig.
const c = @import("bindings.zig");

const Manner = enum(u8) { unchanged, empty, busy, refuse, disconnect };
const Reset = enum { daily, never };
const Start = enum { authenticated, login };

const Unit = struct { name: []const u8, factor: u64 };
const milliseconds = [_]Unit{
    .{ .name = "ms", .factor = 1 },
    .{ .name = "s", .factor = 1000 },
    .{ .name = "m", .factor = 60_000 },
    .{ .name = "h", .factor = 3_600_000 },
    .{ .name = "d", .factor = 86_400_000 },
};
const bytes = [_]Unit{
    .{ .name = "", .factor = 1 },
    .{ .name = "B", .factor = 1 },
    .{ .name = "KiB", .factor = 1 << 10 },
    .{ .name = "MiB", .factor = 1 << 20 },
    .{ .name = "GiB", .factor = 1 << 30 },
};

var interval_ms: u64 = 600_000;
var memory_limit: u64 = 32 << 20;
var reset: Reset = .daily;
var manner: Manner = .unchanged;
var start: Start = .authenticated;

fn slice(text: c.policy_string_t) []const u8 {
    return text.ptr[0..text.len];
}

fn amount(value: []const u8, units: []const Unit) ?u64 {
    var digits: usize = 0;
    while (digits < value.len and std.ascii.isDigit(value[digits])) digits += 1;
    const number = std.fmt.parseInt(u64, value[0..digits], 10) catch return null;
    const unit = std.mem.trimStart(u8, value[digits..], " ");
    for (units) |known| {
        if (std.mem.eql(u8, known.name, unit)) return std.math.mul(u64, number, known.factor) catch null;
    }
    return null;
}

/// Applies a setting. Returns what would be right, or null.
fn configureOne(key: []const u8, value: []const u8) ?[]const u8 {
    if (std.mem.eql(u8, key, "interval")) {
        interval_ms = amount(value, &milliseconds) orelse return "a duration reads like \"90s\", \"10m\" or \"1h\"";
    } else if (std.mem.eql(u8, key, "memory-limit")) {
        memory_limit = amount(value, &bytes) orelse return "a size reads like \"100KiB\" or \"32MiB\"";
    } else if (std.mem.eql(u8, key, "reset")) {
        reset = std.meta.stringToEnum(Reset, value) orelse return "it can be \"daily\", \"never\"";
    } else if (std.mem.eql(u8, key, "start")) {
        start = std.meta.stringToEnum(Start, value) orelse return "it can be \"authenticated\", \"login\"";
    } else if (std.mem.eql(u8, key, "manner")) {
        manner = std.meta.stringToEnum(Manner, value) orelse
            return "it can be \"unchanged\", \"empty\", \"busy\", \"refuse\", \"disconnect\"";
    } else {
        return "unknown setting; known settings: interval, reset, memory-limit, manner, start";
    }
    return null;
}

/// Truncates a text for an error message, at a character boundary.
fn truncated(text: []const u8) []const u8 {
    if (text.len <= 200) return text;
    var end: usize = 200;
    while (end > 0 and text[end] & 0xC0 == 0x80) end -= 1;
    return text[0..end];
}

export fn exports_policy_configure(given: *c.policy_list_tuple2_string_string_t, err: *c.policy_string_t) bool {
    defer c.policy_list_tuple2_string_string_free(given);
    for (given.ptr[0..given.len]) |pair| {
        const key = slice(pair.f0);
        const value = slice(pair.f1);
        if (configureOne(key, value)) |right| {
            var buffer: [1024]u8 = undefined;
            const text = std.fmt.bufPrint(&buffer, "`{s}` is \"{s}\"; {s}", .{
                truncated(key), truncated(value), right,
            }) catch right;
            c.policy_string_dup_n(err, text.ptr, text.len);
            return false;
        }
    }
    return true;
}

fn pass(verdict: *c.policy_verdict_t) void {
    verdict.* = std.mem.zeroes(c.policy_verdict_t);
    verdict.tag = c.REPRIEVE_POLICY_TYPES_VERDICT_PASS;
}

fn deny(verdict: *c.policy_verdict_t, standing: u8, retry_after: u64) void {
    // If the password is not known, let the mail server answer.
    if ((manner == .refuse or manner == .disconnect) and standing != c.REPRIEVE_POLICY_TYPES_STANDING_KNOWN) {
        return pass(verdict);
    }
    verdict.* = std.mem.zeroes(c.policy_verdict_t);
    verdict.tag = c.REPRIEVE_POLICY_TYPES_VERDICT_DENY;
    verdict.val.deny.manner = @intFromEnum(manner);
    verdict.val.deny.retry_after = .{ .is_some = true, .val = saturate(retry_after) };
    c.policy_string_dup(&verdict.val.deny.reason, "too-soon");
}

fn saturate(number: u64) u32 {
    return std.math.cast(u32, number) orelse std.math.maxInt(u32);
}

fn seconds(ms: u64) u64 {
    return ms / 1000 + @intFromBool(ms % 1000 != 0);
}

/// The store's key, one per maildrop: a master user has one for each maildrop that they open. The
/// caller frees it.
fn keyOf(claim: c.reprieve_policy_types_claim_t) c.policy_string_t {
    var key: c.policy_string_t = undefined;
    const acting = claim.authorization_id;
    if (!acting.is_some) {
        c.policy_string_dup_n(&key, claim.user.ptr, claim.user.len);
        return key;
    }
    // User names contain no NUL.
    const names = [_][]const u8{ slice(claim.user), "\x00", slice(acting.val) };
    const joined = std.mem.concat(std.heap.c_allocator, u8, &names) catch @trap();
    return .{ .ptr = joined.ptr, .len = joined.len };
}

/// When a user's clock was started: the time, and the date packed into a number.
const Stamp = struct {
    unix_ms: u64,
    day: i32,

    fn of(time: c.reprieve_policy_types_moment_t) Stamp {
        const date = time.date;
        return .{ .unix_ms = time.unix_ms, .day = (@as(i32, date.year) * 16 + date.month) * 32 + date.day };
    }

    fn write(stamp: Stamp) [12]u8 {
        var written: [12]u8 = undefined;
        std.mem.writeInt(u64, written[0..8], stamp.unix_ms, .little);
        std.mem.writeInt(i32, written[8..12], stamp.day, .little);
        return written;
    }

    fn read(from: []const u8) ?Stamp {
        if (from.len != 12) return null;
        return .{ .unix_ms = std.mem.readInt(u64, from[0..8], .little), .day = std.mem.readInt(i32, from[8..12], .little) };
    }
};

fn logLine(level: u8, text: [:0]const u8) void {
    var line: c.policy_string_t = undefined;
    c.policy_string_set(&line, text);
    c.reprieve_policy_log_line(level, &line);
}

fn remember(key: *c.policy_string_t, stamp: Stamp) void {
    var written = stamp.write();
    var value: c.policy_list_u8_t = .{ .ptr = &written, .len = written.len };
    var ttl = saturate(seconds(interval_ms));
    var refused: c.reprieve_policy_store_refused_t = undefined;
    if (!c.reprieve_policy_store_set(key, &value, &ttl, &refused) and
        refused == c.REPRIEVE_POLICY_STORE_REFUSED_QUOTA)
    {
        logLine(c.REPRIEVE_POLICY_LOG_LEVEL_WARN, "the store's quota is reached before memory-limit: every user is forgotten");
        c.reprieve_policy_store_clear();
        _ = c.reprieve_policy_store_set(key, &value, &ttl, &refused);
    }
}

/// Seconds until a login would pass; null if this one does.
fn wait(found: ?Stamp, now: Stamp, second_of_day: u32) ?u64 {
    const last = found orelse return null;
    if (reset == .daily and last.day != now.day) return null;
    // If the clock was set back, the user passes.
    if (now.unix_ms < last.unix_ms or now.unix_ms - last.unix_ms >= interval_ms) return null;
    const left = seconds(interval_ms - (now.unix_ms - last.unix_ms));
    return if (reset == .daily) @min(left, 86_400 -| second_of_day) else left;
}

fn decide(login: *const c.policy_login_t, verdict: *c.policy_verdict_t) void {
    pass(verdict);
    if (interval_ms == 0) return;
    if (c.reprieve_policy_store_usage() > memory_limit) {
        logLine(c.REPRIEVE_POLICY_LOG_LEVEL_INFO, "memory-limit reached: every user is forgotten");
        c.reprieve_policy_store_clear();
    }
    const now = Stamp.of(login.time);
    var key = keyOf(login.claim);
    defer c.policy_string_free(&key);
    var found: c.policy_list_u8_t = undefined;
    const is_found = c.reprieve_policy_store_get(&key, &found);
    defer if (is_found) c.policy_list_u8_free(&found);
    const last = if (is_found) Stamp.read(found.ptr[0..found.len]) else null;
    if (wait(last, now, login.time.second_of_day)) |retry_after| {
        deny(verdict, login.claim.standing, retry_after);
    } else if (start == .login) {
        // Of simultaneous logins, the first to write passes.
        var stamp_bytes = now.write();
        var value: c.policy_list_u8_t = .{ .ptr = &stamp_bytes, .len = stamp_bytes.len };
        var ttl = saturate(seconds(interval_ms));
        var written: bool = undefined;
        var refused: c.reprieve_policy_store_refused_t = undefined;
        const done = if (is_found)
            c.reprieve_policy_store_compare_and_set(&key, &found, &value, &ttl, &written, &refused)
        else
            c.reprieve_policy_store_add(&key, &value, &ttl, &written, &refused);
        if (!done) {
            remember(&key, now);
        } else if (!written) {
            deny(verdict, login.claim.standing, seconds(interval_ms));
        }
    }
}

export fn exports_policy_decide(login: *c.policy_login_t, verdict: *c.policy_verdict_t) void {
    decide(login, verdict);
    c.policy_login_free(login);
}

export fn exports_policy_observe(outcome: *c.policy_outcome_t) void {
    defer c.policy_outcome_free(outcome);
    if (start == .authenticated and interval_ms > 0 and
        outcome.ending == c.REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED)
    {
        var key = keyOf(outcome.claim);
        defer c.policy_string_free(&key);
        remember(&key, Stamp.of(outcome.time));
    }
}
