// Package export_reprieve_policy_settings describes the policy's settings.
package export_reprieve_policy_settings

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	settings "wit_component/reprieve_policy_settings"
)

func setting(name, kind, value, doc string) settings.Setting {
	return settings.Setting{Name: name, Type: kind, Default: wit.Some(value), Doc: doc}
}

// Describe returns name, type, default and description of each setting.
func Describe() []settings.Setting {
	return []settings.Setting{
		setting("interval", "duration", "10m",
			"How long Reprieve answers a user after a login; with 0s every login passes."),
		setting("reset", "daily|never", "daily", "Whether each user passes once on a new day."),
		setting("memory-limit", "size", "32MiB",
			"Maximum size of the remembered users; when it is exceeded, all users are forgotten."),
		setting("manner", "unchanged|empty|busy|refuse|disconnect", "unchanged", "How a denial is shown."),
		setting("start", "authenticated|login", "authenticated",
			"Whether the clock starts when the mail server accepts a login, or when a login passes."),
		setting("upgrades", "count|ignore", "count",
			"Whether a denied login that continues at the mail server starts the clock again."),
		setting("busy-after", "number", "0",
			"Upgrades in a row after which a denial is shown as busy; 0 for never."),
	}
}
