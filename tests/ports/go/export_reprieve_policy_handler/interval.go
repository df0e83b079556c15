// Package export_reprieve_policy_handler is the default policy, `interval`, ported to Go: the same
// settings and verdicts.
package export_reprieve_policy_handler

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"
	log "wit_component/reprieve_policy_log"
	store "wit_component/reprieve_policy_store"
	policy "wit_component/reprieve_policy_types"
)

var settings = struct {
	intervalMs               uint64
	memoryLimit, busyAfter   uint32
	manner                   policy.Manner
	daily, atLogin, upgrades bool
}{600_000, 32 << 20, 0, policy.Manner_Unchanged, true, false, true}

var (
	msPerUnit    = map[string]uint64{"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
	bytesPerUnit = map[string]uint64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
	// In the order of the enum in the WIT.
	manners = []string{"unchanged", "empty", "busy", "refuse", "disconnect"}
)

// The sum of numbers with units, such as `9m30s`, up to a maximum.
func sum(value string, units map[string]uint64, maximum uint64) (uint64, error) {
	var sum, carry uint64
	for rest := value; ; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		number, err := strconv.ParseUint(rest[:digits], 10, 64)
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := strings.IndexAny(rest+" ", "0123456789 ")
		unit, isKnown := units[rest[:letters]]
		over, part := bits.Mul64(number, unit)
		sum, carry = bits.Add64(sum, part, 0)
		rest = strings.TrimLeft(rest[letters:], " ")
		if err != nil || !isKnown || over+carry != 0 || sum > maximum {
			return 0, fmt.Errorf("is too large")
		}
		if rest == "" {
			return sum, nil
		}
	}
}

// Reprieve has checked that the value is of the setting's type.
func configureOne(key, value string) (err error) {
	var number uint64
	switch key {
	case "interval":
		settings.intervalMs, err = sum(value, msPerUnit, math.MaxUint64)
	case "memory-limit":
		number, err = sum(value, bytesPerUnit, math.MaxUint64)
		settings.memoryLimit = uint32(min(number, math.MaxUint32))
	case "busy-after":
		number, err = sum(value, map[string]uint64{"": 1}, math.MaxUint32)
		settings.busyAfter = uint32(number)
	case "reset":
		settings.daily = value == "daily"
	case "start":
		settings.atLogin = value == "login"
	case "upgrades":
		settings.upgrades = value == "count"
	case "manner":
		settings.manner = policy.Manner(slices.Index(manners, value))
	}
	return err
}

// Configure parses the settings.
func Configure(given []wit.Tuple2[string, string]) wit.Result[wit.Unit, string] {
	for _, pair := range given {
		if err := configureOne(pair.F0, pair.F1); err != nil {
			return wit.Err[wit.Unit](fmt.Sprintf("`%s` %v", pair.F0, err))
		}
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

// What is remembered about a user, as four numbers:
//   - First: the second when the clock was started; 0 if it is not running,
//   - Second: that moment's millisecond in the upper 11 bits, and its date in the others,
//   - Third: upgrades since a login passed.
const dateBits = 21

func dateOf(date policy.Date) uint32 {
	year := uint32(max(int32(date.Year), -int32(date.Year)))
	return (year&0xFFF)<<9 | uint32(date.Month)<<5 | uint32(date.Day)
}

func startClock(memory policy.Memory, now policy.Moment) policy.Memory {
	memory.First = max(now.Unix, 1)
	memory.Second = uint32(now.Millisecond)<<dateBits | dateOf(now.Date)
	return memory
}

func ms(seconds, milliseconds uint32) uint64 { return uint64(seconds)*1000 + uint64(milliseconds) }

// Whether the login passes; if not, the seconds until one would.
func passes(memory policy.Memory, now policy.Moment) (bool, uint32) {
	if memory.First == 0 || settings.daily && memory.Second&(1<<dateBits-1) != dateOf(now.Date) {
		return true, 0
	}
	lastMs, nowMs := ms(memory.First, memory.Second>>dateBits), ms(now.Unix, uint32(now.Millisecond))
	// If the clock was set back, the user passes.
	if nowMs < lastMs || nowMs-lastMs >= settings.intervalMs {
		return true, 0
	}
	leftMs := settings.intervalMs - (nowMs - lastMs)
	left := uint32(min(leftMs/1000+min(leftMs%1000, 1), math.MaxUint32))
	if settings.daily {
		left = min(left, 86_400-min(now.SecondOfDay, 86_400))
	}
	return false, left
}

// What a user takes in the store at most, unless their name is very long.
const entryBytes = 512

// Above the limit, all users are forgotten. If the store has no room for another user, too.
func limitMemory() {
	used := store.Usage()
	if used > settings.memoryLimit {
		log.Line(log.Level_Info, "memory-limit reached: every user is forgotten")
		store.Clear()
	} else if uint64(used)+entryBytes > uint64(store.Quota()) {
		log.Line(log.Level_Warn, "the store's quota is nearly reached before memory-limit: every user is forgotten")
		store.Clear()
	}
}

// Decide judges a login by the time of the user's last one.
func Decide(login policy.Login, memory policy.Memory) (verdict policy.Verdict) {
	if settings.intervalMs == 0 {
		return verdict
	}
	isPassing, retryAfter := passes(memory, login.Time)
	if isPassing {
		if settings.atLogin {
			limitMemory()
			// Of simultaneous logins, the first to be remembered passes; the others are decided again.
			verdict.Remember = wit.Some(startClock(policy.Memory{}, login.Time))
		}
		return verdict
	}
	// If the password is not known, let the mail server answer.
	isRefusal := settings.manner == policy.Manner_Refuse || settings.manner == policy.Manner_Disconnect
	if isRefusal && login.Standing != policy.Standing_Known {
		return verdict
	}
	verdict.Deny = wit.Some(settings.manner)
	if settings.busyAfter > 0 && memory.Third >= settings.busyAfter {
		verdict.Deny = wit.Some(policy.Manner_Busy)
	}
	verdict.RetryAfter = wit.Some(retryAfter)
	return verdict
}

// Observe starts the clock of a user whose login the mail server has accepted.
func Observe(outcome policy.Outcome, memory policy.Memory) wit.Option[policy.Memory] {
	if settings.intervalMs == 0 || outcome.Ending != policy.Ending_Authenticated {
		return wit.None[policy.Memory]()
	}
	if outcome.Upgrade && settings.upgrades || !outcome.Upgrade && !settings.atLogin {
		memory = startClock(memory, outcome.Time)
	}
	if !outcome.Upgrade {
		memory.Third = 0
	} else if memory.Third < math.MaxUint32 {
		memory.Third++
	}
	limitMemory()
	return wit.Some(memory)
}
