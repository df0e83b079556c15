// Package export_wit_world is a policy with a pause after each login: a user passes if their last
// login that the mail server accepted was at least `pause` seconds ago.
package export_wit_world

import (
	"fmt"
	"strconv"

	wit "go.bytecodealliance.org/pkg/wit/types"
	store "wit_component/reprieve_policy_store"
	policy "wit_component/reprieve_policy_types"
)

var pause uint32 = 300

// Configure parses the settings.
func Configure(settings []wit.Tuple2[string, string]) wit.Result[wit.Unit, string] {
	for _, pair := range settings {
		if pair.F0 != "pause" {
			return wit.Err[wit.Unit](fmt.Sprintf("unknown setting `%s`; known settings: pause", pair.F0))
		}
		seconds, err := strconv.ParseUint(pair.F1, 10, 32)
		if err != nil {
			return wit.Err[wit.Unit](fmt.Sprintf("`pause` is %q; it must be a whole number of seconds", pair.F1))
		}
		pause = uint32(seconds)
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. User
// names contain no NUL.
func keyOf(claim policy.Claim) string {
	key := "user:" + claim.User
	if claim.AuthorizationId.Tag() == wit.OptionSome {
		key += "\x00" + claim.AuthorizationId.Some()
	}
	return key
}

// Decide denies a login within `pause` seconds of the last one.
func Decide(login policy.Login) policy.Verdict {
	// The store forgets the user after `pause` seconds.
	if pause == 0 || store.Get(keyOf(login.Claim)).Tag() == wit.OptionNone {
		return policy.MakeVerdictPass(policy.Pass{})
	}
	return policy.MakeVerdictDeny(policy.Deny{Manner: policy.Manner_Unchanged, Reason: "too-soon"})
}

// Observe starts the pause when the mail server has accepted a login.
func Observe(outcome policy.Outcome) {
	if outcome.Ending == policy.Ending_Authenticated && pause > 0 {
		// If the name is too long or the store is full, the user passes.
		store.Set(keyOf(outcome.Claim), []byte("1"), wit.Some(pause))
	}
}
