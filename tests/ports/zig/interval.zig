//! The default policy, `interval`, ported to Zig: the same settings and verdicts.
const std = @import("std");
// The bindings for C, which the build translates to Zig.
const c = @import("bindings.zig");

const Memory = c.reprieve_policy_types_memory_t;
const Moment = c.reprieve_policy_types_moment_t;
const Setting = c.exports_reprieve_policy_settings_setting_t;

const Manner = enum(u8) { unchanged, empty, busy, refuse, disconnect };
const Reset = enum { daily, never };
const Start = enum { authenticated, login };
const Upgrades = enum { count, ignore };

/// What a user takes in the store at most, unless their name is very long.
const entry_bytes: u32 = 512;

var interval_ms: u64 = 600_000;
var memory_limit: u32 = 32 << 20;
var busy_after: u32 = 0;
var reset: Reset = .daily;
var start: Start = .authenticated;
var upgrades: Upgrades = .count;
var manner: Manner = .unchanged;

const Description = struct { name: [:0]const u8, type: [:0]const u8, default: [:0]const u8, doc: [:0]const u8 };
const descriptions = [_]Description{
    .{
        .name = "interval",
        .type = "duration",
        .default = "10m",
        .doc = "How long Reprieve answers a user after a login; with 0s every login passes.",
    },
    .{
        .name = "reset",
        .type = "daily|never",
        .default = "daily",
        .doc = "Whether each user passes once on a new day.",
    },
    .{
        .name = "memory-limit",
        .type = "size",
        .default = "32MiB",
        .doc = "Maximum size of the remembered users; when it is exceeded, all users are forgotten.",
    },
    .{
        .name = "manner",
        .type = "unchanged|empty|busy|refuse|disconnect",
        .default = "unchanged",
        .doc = "How a denial is shown.",
    },
    .{
        .name = "start",
        .type = "authenticated|login",
        .default = "authenticated",
        .doc = "Whether the clock starts when the mail server accepts a login, or when a login passes.",
    },
    .{
        .name = "upgrades",
        .type = "count|ignore",
        .default = "count",
        .doc = "Whether a denied login that continues at the mail server starts the clock again.",
    },
    .{
        .name = "busy-after",
        .type = "number",
        .default = "0",
        .doc = "Upgrades in a row after which a denial is shown as busy; 0 for never.",
    },
};

export fn exports_reprieve_policy_settings_describe(described: *c.exports_reprieve_policy_settings_list_setting_t) void {
    const all = std.heap.c_allocator.alloc(Setting, descriptions.len) catch @trap();
    for (all, descriptions) |*setting, description| {
        c.policy_string_dup(&setting.name, description.name.ptr);
        c.policy_string_dup(&setting.type, description.type.ptr);
        setting.default_.is_some = true;
        c.policy_string_dup(&setting.default_.val, description.default.ptr);
        c.policy_string_dup(&setting.doc, description.doc.ptr);
    }
    described.* = .{ .ptr = all.ptr, .len = all.len };
}

fn slice(text: c.policy_string_t) []const u8 {
    return text.ptr[0..text.len];
}

const Unit = struct { []const u8, u64 };
const milliseconds = [_]Unit{ .{ "ms", 1 }, .{ "s", 1000 }, .{ "m", 60_000 }, .{ "h", 3_600_000 }, .{ "d", 86_400_000 } };
const bytes = [_]Unit{ .{ "B", 1 }, .{ "KiB", 1 << 10 }, .{ "MiB", 1 << 20 }, .{ "GiB", 1 << 30 } };

/// The sum of numbers with units, such as `9m30s`; null if it is another text, or too large.
fn sum(value: []const u8, units: []const Unit) ?u64 {
    var total: u64 = 0;
    var rest = value;
    while (true) {
        const digits = std.mem.findNone(u8, rest, "0123456789") orelse return null;
        const number = std.fmt.parseInt(u64, rest[0..digits], 10) catch return null;
        rest = std.mem.trimStart(u8, rest[digits..], " ");
        const letters = std.mem.findAny(u8, rest, "0123456789 ") orelse rest.len;
        const factor = for (units) |unit| {
            if (std.mem.eql(u8, unit[0], rest[0..letters])) break unit[1];
        } else return null;
        const part = std.math.mul(u64, number, factor) catch return null;
        total = std.math.add(u64, total, part) catch return null;
        rest = std.mem.trimStart(u8, rest[letters..], " ");
        if (rest.len == 0) return total;
    }
}

/// Reprieve has checked that the value is of the setting's type. Returns null if it is too large.
fn configureOne(key: []const u8, value: []const u8) ?void {
    if (std.mem.eql(u8, key, "interval")) interval_ms = sum(value, &milliseconds) orelse return null;
    if (std.mem.eql(u8, key, "memory-limit")) memory_limit = std.math.lossyCast(u32, sum(value, &bytes) orelse return null);
    if (std.mem.eql(u8, key, "busy-after")) busy_after = std.fmt.parseInt(u32, value, 10) catch return null;
    if (std.mem.eql(u8, key, "reset")) reset = std.meta.stringToEnum(Reset, value) orelse return null;
    if (std.mem.eql(u8, key, "start")) start = std.meta.stringToEnum(Start, value) orelse return null;
    if (std.mem.eql(u8, key, "upgrades")) upgrades = std.meta.stringToEnum(Upgrades, value) orelse return null;
    if (std.mem.eql(u8, key, "manner")) manner = std.meta.stringToEnum(Manner, value) orelse return null;
}

export fn exports_reprieve_policy_handler_configure(
    given: *c.policy_list_tuple2_string_string_t,
    err: *c.policy_string_t,
) bool {
    defer c.policy_list_tuple2_string_string_free(given);
    for (given.ptr[0..given.len]) |pair| {
        const key = slice(pair.f0);
        configureOne(key, slice(pair.f1)) orelse {
            var buffer: [64]u8 = undefined;
            const text = std.fmt.bufPrint(&buffer, "`{s}` is too large", .{key}) catch "a setting is too large";
            c.policy_string_dup_n(err, text.ptr, text.len);
            return false;
        };
    }
    return true;
}

/// When a clock was started.
const Stamp = packed struct(u64) {
    /// 0 if it is not running.
    unix: u32,
    day: u5,
    month: u4,
    /// The year 4095 is the last one that fits.
    year: u12,
    millisecond: u11,

    fn of(time: Moment) Stamp {
        return .{
            .unix = time.unix,
            .day = @truncate(time.date.day),
            .month = @truncate(time.date.month),
            .year = @truncate(@abs(time.date.year)),
            .millisecond = @truncate(time.millisecond),
        };
    }

    fn unixMs(stamp: Stamp) u64 {
        return @as(u64, stamp.unix) * 1000 + stamp.millisecond;
    }

    fn isSameDay(one: Stamp, other: Stamp) bool {
        return one.day == other.day and one.month == other.month and one.year == other.year;
    }
};

/// What is remembered about a user. The first two numbers are the stamp; the third one counts the
/// upgrades since a login passed.
fn startClock(memory: *Memory, time: Moment) void {
    const stamp: u64 = @bitCast(Stamp.of(time));
    memory.first = @max(time.unix, 1);
    memory.second = @intCast(stamp >> 32);
}

fn lastOf(memory: Memory) ?Stamp {
    if (memory.first == 0) return null;
    return @bitCast(@as(u64, memory.second) << 32 | memory.first);
}

/// Seconds until a login would pass; null if this one does.
fn wait(memory: Memory, time: Moment) ?u32 {
    const last = lastOf(memory) orelse return null;
    const now = Stamp.of(time);
    if (reset == .daily and !last.isSameDay(now)) return null;
    // If the clock was set back, the user passes.
    const elapsed = std.math.sub(u64, now.unixMs(), last.unixMs()) catch return null;
    if (elapsed >= interval_ms) return null;
    const left_ms = interval_ms - elapsed;
    const left = std.math.lossyCast(u32, left_ms / 1000 + @intFromBool(left_ms % 1000 != 0));
    return if (reset == .daily) @min(left, 86_400 -| time.second_of_day) else left;
}

fn forgetEverybody(level: u8, why: [:0]const u8) void {
    var line: c.policy_string_t = undefined;
    c.policy_string_set(&line, why.ptr);
    c.reprieve_policy_log_line(level, &line);
    c.reprieve_policy_store_clear();
}

/// Above the limit, all users are forgotten. If the store has no room for another user, too.
fn limitMemory() void {
    const used = c.reprieve_policy_store_usage();
    if (used > memory_limit) {
        forgetEverybody(c.REPRIEVE_POLICY_LOG_LEVEL_INFO, "memory-limit reached: every user is forgotten");
    } else if (used > c.reprieve_policy_store_quota() -| entry_bytes) {
        forgetEverybody(
            c.REPRIEVE_POLICY_LOG_LEVEL_WARN,
            "the store's quota is nearly reached before memory-limit: every user is forgotten",
        );
    }
}

export fn exports_reprieve_policy_handler_decide(
    login: *const c.reprieve_policy_types_login_t,
    memory: *const Memory,
    verdict: *c.reprieve_policy_types_verdict_t,
) void {
    verdict.* = std.mem.zeroes(c.reprieve_policy_types_verdict_t);
    if (interval_ms == 0) return;
    const retry_after = wait(memory.*, login.time) orelse {
        if (start == .authenticated) return;
        limitMemory();
        // Of simultaneous logins, the first to be remembered passes; the others are decided again.
        verdict.remember.is_some = true;
        startClock(&verdict.remember.val, login.time);
        return;
    };
    // If the password is not known, let the mail server answer.
    const is_refusal = manner == .refuse or manner == .disconnect;
    if (is_refusal and login.standing != c.REPRIEVE_POLICY_TYPES_STANDING_KNOWN) return;
    const is_busy = busy_after > 0 and memory.third >= busy_after;
    verdict.deny = .{ .is_some = true, .val = @intFromEnum(if (is_busy) Manner.busy else manner) };
    verdict.retry_after = .{ .is_some = true, .val = retry_after };
}

export fn exports_reprieve_policy_handler_observe(
    outcome: *const c.reprieve_policy_types_outcome_t,
    memory: *const Memory,
    remember: *Memory,
) bool {
    remember.* = memory.*;
    if (interval_ms == 0 or outcome.ending != c.REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) return false;
    const restarts = if (outcome.upgrade) upgrades == .count else start == .authenticated;
    if (restarts) startClock(remember, outcome.time);
    remember.third = if (outcome.upgrade) memory.third +| 1 else 0;
    limitMemory();
    return true;
}
