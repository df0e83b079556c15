// Package export_wit_world is a policy with rules by the client's network: some networks pass, some
// are refused, all others wait. A network can have its own pool.
package export_wit_world

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"
	log "wit_component/reprieve_policy_log"
	store "wit_component/reprieve_policy_store"
	policy "wit_component/reprieve_policy_types"
)

const (
	known       = "known settings: pass, refuse, wait, wait.NAME, manner, pool.NAME"
	networkForm = "networks read like \"10.0.0.0/8, 2001:db8::/32\""
)

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
	interval uint64
}

type route struct {
	network netip.Prefix
	pool    string
}

var (
	rules  []rule
	routes []route
	// Seconds to wait for clients that are in none of the networks.
	interval uint64 = 600
	manner          = policy.Manner_Unchanged
	// In the order of the enum in the WIT.
	manners = []string{"unchanged", "empty", "busy", "refuse", "disconnect"}
	units   = map[string]uint64{"s": 1, "m": 60, "h": 3600, "d": 86_400}
)

func networks(value string) (all []netip.Prefix, err error) {
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

func duration(value string) (uint64, error) {
	digits := strings.TrimRight(value, "smhd")
	number, err := strconv.ParseUint(digits, 10, 31)
	unit, isUnit := units[value[len(digits):]]
	if err != nil || !isUnit || number*unit > math.MaxUint32 {
		return 0, fmt.Errorf("is \"%.40s\"; a duration reads like \"90s\", \"10m\" or \"1h\"", value)
	}
	return number * unit, nil
}

// A network has one rule: of two rules, neither would be more specific.
func addRules(value string, action action, interval uint64) error {
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

func choice(value string, words ...string) (int, error) {
	for index, word := range words {
		if word == value {
			return index, nil
		}
	}
	return 0, fmt.Errorf("is \"%.40s\"; it can be \"%s\"", value, strings.Join(words, "\", \""))
}

func configureOne(key, value string) error {
	kind, name, isNamed := strings.Cut(key, ".")
	isNamed = isNamed && name != ""
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
		index, err := choice(value, manners...)
		manner = policy.Manner(index)
		return err
	}
	return fmt.Errorf("is not known; %s", known)
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

func pass(address netip.Addr) policy.Verdict {
	verdict, bits := policy.Pass{}, -1
	for _, route := range routes {
		if route.network.Bits() > bits && route.network.Contains(address) {
			verdict.Pool, bits = wit.Some(route.pool), route.network.Bits()
		}
	}
	return policy.MakeVerdictPass(verdict)
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. User
// names contain no NUL.
func keyOf(claim policy.Claim) string {
	if claim.AuthorizationId.Tag() == wit.OptionNone {
		return claim.User
	}
	return claim.User + "\x00" + claim.AuthorizationId.Some()
}

// Decide judges a login by the network of its client.
func Decide(login policy.Login) policy.Verdict {
	address, err := netip.ParseAddr(login.Client.Peer.Address)
	if err != nil {
		log.Line(log.Level_Warn, "the client's address cannot be parsed: the login passes")
		return policy.MakeVerdictPass(policy.Pass{})
	}
	// An IPv4 client on an IPv6 socket.
	address = address.Unmap()
	rule := ruleOf(address)
	if rule.action == refuses {
		// Whatever the standing: this rule is about networks, not users.
		return policy.MakeVerdictDeny(policy.Deny{
			Manner: policy.Manner_Refuse,
			Code:   wit.Some(policy.ResponseCode_SysPerm),
			Reason: "network",
		})
	}
	if rule.action == passes || rule.interval == 0 {
		return pass(address)
	}
	found := store.Get(keyOf(login.Claim))
	if found.Tag() == wit.OptionNone || len(found.Some()) != 8 {
		return pass(address)
	}
	last, now := binary.LittleEndian.Uint64(found.Some()), login.Time.UnixMs/1000
	// If the clock was set back, the user passes.
	if now < last || now-last >= rule.interval {
		return pass(address)
	}
	// If the password is not known, let the mail server answer.
	isRefusal := manner == policy.Manner_Refuse || manner == policy.Manner_Disconnect
	if isRefusal && login.Claim.Standing != policy.Standing_Known {
		return pass(address)
	}
	return policy.MakeVerdictDeny(policy.Deny{
		Manner:     manner,
		RetryAfter: wit.Some(uint32(rule.interval - (now - last))),
		Reason:     "too-soon",
	})
}

// Observe starts the clock of a user whose login the mail server has accepted.
func Observe(outcome policy.Outcome) {
	if outcome.Ending != policy.Ending_Authenticated {
		return
	}
	// The user's next login may come from another network: remember them for the longest interval.
	longest := interval
	for _, rule := range rules {
		longest = max(longest, rule.interval)
	}
	if longest == 0 {
		return
	}
	stamp := binary.LittleEndian.AppendUint64(nil, outcome.Time.UnixMs/1000)
	// If the name is too long or the store is full, the user passes.
	store.Set(keyOf(outcome.Claim), stamp, wit.Some(uint32(longest)))
}
