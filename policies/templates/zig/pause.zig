//! A pause after each login: a user passes if their last login that the mail server accepted was at
//! least `pause` seconds ago.
const std = @import("std");
// The bindings for C, which the build translates to Zig.
const c = @import("bindings.zig");

var pause: u32 = 300;

fn slice(text: c.policy_string_t) []const u8 {
    return text.ptr[0..text.len];
}

fn seconds(value: []const u8) ?u32 {
    // Zig's parser accepts signs and underscores.
    for (value) |digit| if (!std.ascii.isDigit(digit)) return null;
    return std.fmt.parseInt(u32, value, 10) catch null;
}

export fn exports_policy_configure(settings: *c.policy_list_tuple2_string_string_t, err: *c.policy_string_t) bool {
    defer c.policy_list_tuple2_string_string_free(settings);
    for (settings.ptr[0..settings.len]) |pair| {
        if (!std.mem.eql(u8, slice(pair.f0), "pause")) {
            c.policy_string_dup(err, "unknown setting; known settings: pause");
            return false;
        }
        pause = seconds(slice(pair.f1)) orelse {
            c.policy_string_dup(err, "`pause` must be a whole number of seconds");
            return false;
        };
    }
    return true;
}

/// The store's key, one per maildrop: a master user has one for each maildrop that they open. The
/// caller frees it.
fn keyOf(claim: c.reprieve_policy_types_claim_t) ?[]u8 {
    const acting = claim.authorization_id;
    // User names contain no NUL.
    return std.mem.concat(std.heap.c_allocator, u8, if (acting.is_some)
        &.{ "user:", slice(claim.user), "\x00", slice(acting.val) }
    else
        &.{ "user:", slice(claim.user) }) catch null;
}

fn isRemembered(claim: c.reprieve_policy_types_claim_t) bool {
    const bytes = keyOf(claim) orelse return false;
    defer std.heap.c_allocator.free(bytes);
    var key: c.policy_string_t = .{ .ptr = bytes.ptr, .len = bytes.len };
    var found: c.policy_list_u8_t = undefined;
    if (!c.reprieve_policy_store_get(&key, &found)) return false;
    c.policy_list_u8_free(&found);
    return true;
}

export fn exports_policy_decide(login: *c.policy_login_t, verdict: *c.policy_verdict_t) void {
    defer c.policy_login_free(login);
    verdict.* = std.mem.zeroes(c.policy_verdict_t);
    verdict.tag = c.REPRIEVE_POLICY_TYPES_VERDICT_PASS;
    // The store forgets the user after `pause` seconds.
    if (pause > 0 and isRemembered(login.claim)) {
        verdict.tag = c.REPRIEVE_POLICY_TYPES_VERDICT_DENY;
        verdict.val.deny.manner = c.REPRIEVE_POLICY_TYPES_MANNER_UNCHANGED;
        c.policy_string_dup(&verdict.val.deny.reason, "too-soon");
    }
}

export fn exports_policy_observe(outcome: *c.policy_outcome_t) void {
    defer c.policy_outcome_free(outcome);
    if (pause == 0 or outcome.ending != c.REPRIEVE_POLICY_TYPES_ENDING_AUTHENTICATED) return;
    const bytes = keyOf(outcome.claim) orelse return;
    defer std.heap.c_allocator.free(bytes);
    var key: c.policy_string_t = .{ .ptr = bytes.ptr, .len = bytes.len };
    var one = [_]u8{'1'};
    var value: c.policy_list_u8_t = .{ .ptr = &one, .len = 1 };
    var refused: c.reprieve_policy_store_refused_t = undefined;
    // If the name is too long or the store is full, the user passes.
    _ = c.reprieve_policy_store_set(&key, &value, &pause, &refused);
}
