// Package export_reprieve_policy_handler is a policy with a pause after each login: a user passes if
// their last login that the mail server accepted was at least `pause` seconds ago.
package export_reprieve_policy_handler

import (
	"fmt"
	"strconv"

	wit "go.bytecodealliance.org/pkg/wit/types"
	policy "wit_component/reprieve_policy_types"
)

var pause uint32 = 300

// Configure parses the settings. Reprieve has checked their names and types, as `Describe` gives them.
func Configure(settings []wit.Tuple2[string, string]) wit.Result[wit.Unit, string] {
	for _, pair := range settings {
		seconds, err := strconv.ParseUint(pair.F1, 10, 32)
		if err != nil {
			return wit.Err[wit.Unit](fmt.Sprintf("`%s` is %q; it must be a whole number of seconds", pair.F0, pair.F1))
		}
		pause = uint32(seconds)
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

// Decide denies a login within `pause` seconds of the last one.
func Decide(login policy.Login, memory policy.Memory) (verdict policy.Verdict) {
	// The second of the user's last login; 0 if nothing is remembered.
	last, now := memory.First, login.Time.Unix
	// If the clock was set back, the user passes.
	if last > 0 && now >= last && now-last < pause {
		verdict.Deny = wit.Some(policy.Manner_Unchanged)
		verdict.RetryAfter = wit.Some(pause - (now - last))
	}
	return verdict
}

// Observe starts the pause when the mail server has accepted a login.
func Observe(outcome policy.Outcome, memory policy.Memory) wit.Option[policy.Memory] {
	if outcome.Ending != policy.Ending_Authenticated || pause == 0 {
		return wit.None[policy.Memory]()
	}
	return wit.Some(policy.Memory{First: outcome.Time.Unix})
}
