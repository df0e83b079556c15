//! A pause after each login: a user passes if their last login that the mail server accepted was at
//! least `pause` seconds ago.
const std = @import("std");
// The bindings for C, which the build translates to Zig.
const c = @import("bindings.zig");

var pause: u32 = 300;

/// The settings, as `reprieve check` and `reprieve policy inspect` show them. The caller frees them.
export fn exports_reprieve_policy_settings_describe(described: *c.exports_reprieve_policy_settings_list_setting_t) void {
    const all = std.heap.c_allocator.alloc(c.exports_reprieve_policy_settings_setting_t, 1) catch @trap();
    c.policy_string_dup(&all[0].name, "pause");
    c.policy_string_dup(&all[0].type, "number");
    all[0].default_.is_some = true;
    c.policy_string_dup(&all[0].default_.val, "300");
    c.policy_string_dup(&all[0].doc, "Seconds between two logins that reach the mail server; with 0 every login passes.");
    described.* = .{ .ptr = all.ptr, .len = all.len };
}

fn seconds(value: []const u8) ?u32 {
    // Zig's parser accepts signs and underscores.
    for (value) |digit| if (!std.ascii.isDigit(digit)) return null;
    return std.fmt.parseInt(u32, value, 10) catch null;
}

/// Reprieve has checked the settings' names and types.
export fn exports_reprieve_policy_handler_configure(
    settings: *c.policy_list_tuple2_string_string_t,
    err: *c.policy_string_t,
) bool {
    defer c.policy_list_tuple2_string_string_free(settings);
    for (settings.ptr[0..settings.len]) |pair| {
        pause = seconds(pair.f1.ptr[0..pair.f1.len]) orelse {
            c.policy_string_dup(err, "`pause` must be a whole number of seconds");
            return false;
        };
    }
    return true;
}

export fn exports_reprieve_policy_handler_decide(
    login: *const c.reprieve_policy_types_login_t,
    memory: *const c.reprieve_policy_types_memory_t,
    verdict: *c.reprieve_policy_types_verdict_t,
) void {
    verdict.* = std.mem.zeroes(c.reprieve_policy_types_verdict_t); // The login passes.
    // The second of the user's last login; 0 if nothing is remembered.
    const last = memory.first;
    const now = login.time.unix;
    // If the clock was set back, the user passes.
    if (last > 0 and now >= last and now - last < pause) {
        verdict.deny = .{ .is_some = true, .val = c.REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED };
        verdict.retry_after = .{ .is_some = true, .val = pause - (now - last) };
    }
}

/// Returns whether there is something new to remember.
export fn exports_reprieve_policy_handler_observe(
    outcome: *const c.reprieve_policy_types_outcome_t,
    memory: *const c.reprieve_policy_types_memory_t,
    remember: *c.reprieve_policy_types_memory_t,
) bool {
    remember.* = memory.*;
    if (outcome.ending != c.REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED or pause == 0) return false;
    remember.first = outcome.time.unix;
    return true;
}
