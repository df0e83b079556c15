//! A pause after each login: a user passes if his last login that the mail server accepted is at
//! least `pause` seconds ago.
const std = @import("std");
// The bindings for C, translated by the build.
const c = @import("bindings.zig");

var pause: u32 = 300;

fn slice(text: c.policy_string_t) []const u8 {
    return text.ptr[0..text.len];
}

fn seconds(value: []const u8) ?u32 {
    // Zig's own numbers may have signs and underscores.
    for (value) |digit| if (!std.ascii.isDigit(digit)) return null;
    return std.fmt.parseInt(u32, value, 10) catch null;
}

export fn exports_policy_configure(settings: *c.policy_list_tuple2_string_string_t, err: *c.policy_string_t) bool {
    defer c.policy_list_tuple2_string_string_free(settings);
    for (settings.ptr[0..settings.len]) |pair| {
        if (!std.mem.eql(u8, slice(pair.f0), "pause")) {
            c.policy_string_dup(err, "a setting is unknown; known is pause");
            return false;
        }
        pause = seconds(slice(pair.f1)) orelse {
            c.policy_string_dup(err, "`pause` is a whole number of seconds");
            return false;
        };
    }
    return true;
}

/// The store's key of a user, with the names as the host gives them: a master user is another user
/// for each maildrop that they act for. The caller frees it.
fn keyOf(claim: c.reprieve_policy_types_claim_t) ?[]u8 {
    const acting = claim.authorization_id;
    // No name has a NUL in it.
    return std.mem.concat(std.heap.c_allocator, u8, if (acting.is_some)
        &.{ "user:", slice(claim.user), "\x00", slice(acting.val) }
    else
        &.{ "user:", slice(claim.user) }) catch null;
}

fn isThere(claim: c.reprieve_policy_types_claim_t) bool {
    const octets = keyOf(claim) orelse return false;
    defer std.heap.c_allocator.free(octets);
    var key: c.policy_string_t = .{ .ptr = octets.ptr, .len = octets.len };
    var found: c.policy_list_u8_t = undefined;
    if (!c.reprieve_policy_store_get(&key, &found)) return false;
    c.policy_list_u8_free(&found);
    return true;
}

export fn exports_policy_decide(login: *c.policy_login_t, verdict: *c.policy_verdict_t) void {
    defer c.policy_login_free(login);
    verdict.* = std.mem.zeroes(c.policy_verdict_t);
    verdict.tag = c.REPRIEVE_POLICY_TYPES_VERDICT_PASS;
    // What is there has not expired yet.
    if (pause > 0 and isThere(login.claim)) {
        verdict.tag = c.REPRIEVE_POLICY_TYPES_VERDICT_DENY;
        verdict.val.deny.manner = c.REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED;
        c.policy_string_dup(&verdict.val.deny.reason, "too-soon");
    }
}

export fn exports_policy_observe(outcome: *c.policy_outcome_t) void {
    defer c.policy_outcome_free(outcome);
    if (pause == 0 or outcome.ending != c.REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) return;
    const octets = keyOf(outcome.claim) orelse return;
    defer std.heap.c_allocator.free(octets);
    var key: c.policy_string_t = .{ .ptr = octets.ptr, .len = octets.len };
    var one = [_]u8{'1'};
    var value: c.policy_list_u8_t = .{ .ptr = &one, .len = 1 };
    var refused: c.reprieve_policy_store_refused_t = undefined;
    // Too long a name, or a full store: such a user passes.
    _ = c.reprieve_policy_store_set(&key, &value, &pause, &refused);
}
