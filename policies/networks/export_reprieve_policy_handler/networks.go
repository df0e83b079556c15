// Package export_reprieve_policy_handler is a policy with rules by the client's network: some
// networks pass, some are refused, all others wait. A network can have its own pool.
package export_reprieve_policy_handler

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"
	answer "wit_component/reprieve_policy_answer"
	client "wit_component/reprieve_policy_client"
	log "wit_component/reprieve_policy_log"
	policy "wit_component/reprieve_policy_types"
)

const networkForm = "networks read like \"10.0.0.0/8, 2001:db8::/32\""

type action int

const (
	passes action = iota
	refuses
	waits
)

// The most specific network that contains the client decides.
type rule struct {
	network  netip.Prefix
	action   action
	interval uint32
}

type route struct {
	network netip.Prefix
	pool    string
}

var (
	rules  []rule
	routes []route
	// Seconds to wait for clients that are in none of the networks.
	interval uint32 = 600
	manner          = policy.Manner_Unchanged
	// Whether the upgrade of a denied login starts the clock again.
	countUpgrades = true
	// In the order of the enum in the WIT.
	manners = []string{"unchanged", "empty", "busy", "refuse", "disconnect"}
	units   = map[string]uint64{"s": 1, "m": 60, "h": 3600, "d": 86_400}
)

func networks(value string) (all []netip.Prefix, err error) {
	if value == "" {
		return nil, nil
	}
	for _, part := range strings.Split(value, ",") {
		part = strings.TrimSpace(part)
		network, err := netip.ParsePrefix(part)
		if address, alone := netip.ParseAddr(part); alone == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("has \"%.60s\", which is not a network; %s", part, networkForm)
		}
		// Match IPv4 clients by their IPv4 address, also on IPv6 sockets.
		if network.Addr().Is4In6() {
			if network.Bits() < 96 {
				return nil, fmt.Errorf("has %s, which is not an IPv4 network; %s", network, networkForm)
			}
			network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
		}
		if network != network.Masked() {
			return nil, fmt.Errorf("has %s, which has bits set beyond its prefix length; did you mean %s?", network, network.Masked())
		}
		all = append(all, network)
	}
	return all, nil
}

// Seconds of a sum such as `90s` or `1h30m`.
func duration(value string) (uint32, error) {
	var sum uint64
	for rest := value; ; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		number, err := strconv.ParseUint(rest[:digits], 10, 31)
		unit, isUnit := units[rest[digits:min(digits+1, len(rest))]]
		sum += number * unit
		if err != nil || !isUnit || sum > math.MaxUint32 {
			return 0, fmt.Errorf("is \"%.40s\"; a duration reads like \"90s\", \"10m\" or \"1h30m\"", value)
		}
		rest = strings.TrimLeft(rest[digits+1:], " ")
		if rest == "" {
			return uint32(sum), nil
		}
	}
}

// A network has one rule: of two rules, neither would be more specific.
func addRules(value string, action action, interval uint32) error {
	all, err := networks(value)
	for _, network := range all {
		for _, other := range rules {
			if other.network == network && (other.action != action || other.interval != interval) {
				return fmt.Errorf("has %s, which another setting has too; a network can have one rule", network)
			}
		}
		rules = append(rules, rule{network, action, interval})
	}
	return err
}

func addRoutes(value, pool string) error {
	all, err := networks(value)
	for _, network := range all {
		for _, other := range routes {
			if other.network == network && other.pool != pool {
				return fmt.Errorf("has %s, which `pool.%.60s` has too; a network can have one pool", network, other.pool)
			}
		}
		routes = append(routes, route{network, pool})
	}
	return err
}

// Reprieve has checked the names, and the types of all settings that are not text.
func configureOne(key, value string) error {
	kind, name, isNamed := strings.Cut(key, ".")
	switch {
	case key == "pass":
		return addRules(value, passes, 0)
	case key == "refuse":
		return addRules(value, refuses, 0)
	case key == "wait":
		seconds, err := duration(value)
		interval = seconds
		return err
	case kind == "wait" && isNamed:
		text, list, isWhole := strings.Cut(strings.TrimSpace(value), " ")
		if !isWhole {
			return fmt.Errorf("is \"%.60s\"; it reads like \"1h 192.0.2.0/24, 2001:db8::/32\"", value)
		}
		seconds, err := duration(text)
		if err != nil {
			return err
		}
		return addRules(list, waits, seconds)
	case kind == "pool" && isNamed:
		return addRoutes(value, name)
	case key == "manner":
		manner = policy.Manner(slices.Index(manners, value))
	case key == "upgrades":
		countUpgrades = value == "count"
	}
	return nil
}

// Configure parses the settings.
func Configure(given []wit.Tuple2[string, string]) wit.Result[wit.Unit, string] {
	for _, pair := range given {
		if err := configureOne(pair.F0, pair.F1); err != nil {
			return wit.Err[wit.Unit, string](fmt.Sprintf("`%.80s` %v", pair.F0, err))
		}
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

// The rule of the most specific network that contains an address.
func ruleOf(address netip.Addr) rule {
	best, bits := rule{action: waits, interval: interval}, -1
	for _, rule := range rules {
		if rule.network.Bits() > bits && rule.network.Contains(address) {
			best, bits = rule, rule.network.Bits()
		}
	}
	return best
}

func pass(address netip.Addr) (verdict policy.Verdict) {
	pool, bits := "", -1
	for _, route := range routes {
		if route.network.Bits() > bits && route.network.Contains(address) {
			pool, bits = route.pool, route.network.Bits()
		}
	}
	if bits >= 0 {
		answer.Pool(pool)
	}
	return verdict
}

// Decide judges a login by the network of its client. The first number of the user's memory is the
// second of their last accepted login.
func Decide(login policy.Login, memory policy.Memory) (verdict policy.Verdict) {
	address, err := netip.ParseAddr(client.Peer())
	if err != nil {
		log.Line(log.Level_Warn, "the client's address cannot be parsed: the login passes")
		return verdict
	}
	// An IPv4 client on an IPv6 socket.
	address = address.Unmap()
	rule := ruleOf(address)
	if rule.action == refuses {
		// Whatever the standing: this rule is about networks, not users.
		answer.Code(answer.ResponseCode_SysPerm)
		answer.Reason("network")
		verdict.Deny = wit.Some(policy.Manner_Refuse)
		return verdict
	}
	last, now := memory.First, login.Time.Unix
	// If the clock was set back, the user passes.
	isEarly := last != 0 && now >= last && now-last < rule.interval
	if rule.action == passes || !isEarly {
		return pass(address)
	}
	// If the password is not known, let the mail server answer.
	isRefusal := manner == policy.Manner_Refuse || manner == policy.Manner_Disconnect
	if isRefusal && login.Standing != policy.Standing_Known {
		return pass(address)
	}
	verdict.Deny = wit.Some(manner)
	verdict.RetryAfter = wit.Some(rule.interval - (now - last))
	return verdict
}

// Observe starts the clock of a user whose login the mail server has accepted.
func Observe(outcome policy.Outcome, memory policy.Memory) wit.Option[policy.Memory] {
	isAccepted := outcome.Ending == policy.Ending_Authenticated && (countUpgrades || !outcome.Upgrade)
	// The user's next login may come from another network.
	waitsAnywhere := interval > 0
	for _, rule := range rules {
		waitsAnywhere = waitsAnywhere || rule.interval > 0
	}
	if !isAccepted || !waitsAnywhere {
		return wit.None[policy.Memory]()
	}
	memory.First = outcome.Time.Unix
	return wit.Some(memory)
}
