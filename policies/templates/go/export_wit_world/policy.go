// Package export_wit_world keeps a pause after each login: a user passes if his last login that
// the mail server accepted is at least `pause` seconds ago.
package export_wit_world

import (
	"fmt"
	"strconv"

	wit "go.bytecodealliance.org/pkg/wit/types"
	store "wit_component/reprieve_policy_store"
	policy "wit_component/reprieve_policy_types"
)

var pause uint32 = 300

// Configure takes the settings.
func Configure(settings []wit.Tuple2[string, string]) wit.Result[wit.Unit, string] {
	for _, pair := range settings {
		if pair.F0 != "pause" {
			return wit.Err[wit.Unit](fmt.Sprintf("unknown setting `%s`; known is pause", pair.F0))
		}
		seconds, err := strconv.ParseUint(pair.F1, 10, 32)
		if err != nil {
			return wit.Err[wit.Unit](fmt.Sprintf("`pause` is %q; it is a whole number of seconds", pair.F1))
		}
		pause = uint32(seconds)
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

// The names as the host gives them: a master user is another user for each maildrop that they act
// for. No name has a NUL in it.
func keyOf(claim policy.Claim) string {
	key := "user:" + claim.User
	if claim.AuthorizationId.Tag() == wit.OptionSome {
		key += "\x00" + claim.AuthorizationId.Some()
	}
	return key
}

// Decide judges a login.
func Decide(login policy.Login) policy.Verdict {
	// What is there has not expired yet.
	if pause == 0 || store.Get(keyOf(login.Claim)).Tag() == wit.OptionNone {
		return policy.MakeVerdictPass(policy.Pass{})
	}
	return policy.MakeVerdictDeny(policy.Deny{Manner: policy.Manner_Unchanged, Reason: "too-soon"})
}

// Observe is told what became of a login that passed.
func Observe(outcome policy.Outcome) {
	if outcome.Ending == policy.Ending_Authenticated && pause > 0 {
		// Too long a name, or a full store: such a user passes.
		store.Set(keyOf(outcome.Claim), []byte("1"), wit.Some(pause))
	}
}
