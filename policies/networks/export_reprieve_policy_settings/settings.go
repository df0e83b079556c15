// Package export_reprieve_policy_settings describes the policy's settings.
package export_reprieve_policy_settings

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	settings "wit_component/reprieve_policy_settings"
)

func setting(name, kind, value, doc string) settings.Setting {
	return settings.Setting{Name: name, Type: kind, Default: wit.Some(value), Doc: doc}
}

// Settings whose names begin with a prefix.
func family(prefix, doc string) settings.Setting {
	return settings.Setting{Name: prefix + "*", Type: "text", Doc: doc}
}

// Describe returns name, type, default and description of each setting.
func Describe() []settings.Setting {
	return []settings.Setting{
		setting("pass", "text", "", "Networks whose clients always pass, for instance 10.0.0.0/8, 2001:db8::/32."),
		setting("refuse", "text", "", "Networks whose clients are always refused."),
		setting("wait", "duration", "10m", "How long users wait between logins from all other networks; 0s for no wait."),
		family("wait.", "The same for some networks, for instance 1h 192.0.2.0/24, 2001:db8::/32."),
		setting("manner", "unchanged|empty|busy|refuse|disconnect", "unchanged",
			"How a denial is shown to users who wait."),
		family("pool.", "Networks whose logins go to this pool."),
		setting("upgrades", "count|ignore", "count",
			"Whether a denied login that continues at the mail server starts the user's wait again."),
	}
}
