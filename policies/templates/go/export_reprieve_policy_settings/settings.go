// Package export_reprieve_policy_settings describes the policy's settings.
package export_reprieve_policy_settings

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	settings "wit_component/reprieve_policy_settings"
)

// Describe returns the settings, as `reprieve check` and `reprieve policy inspect` show them.
func Describe() []settings.Setting {
	return []settings.Setting{{
		Name:    "pause",
		Type:    "number",
		Default: wit.Some("300"),
		Doc:     "Seconds between two logins that reach the mail server; with 0 every login passes.",
	}}
}
