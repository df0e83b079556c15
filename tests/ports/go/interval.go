// Package export_wit_world is the default policy, `interval`, ported to Go: the same settings and
// verdicts.
package export_wit_world

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"
	log "wit_component/reprieve_policy_log"
	store "wit_component/reprieve_policy_store"
	policy "wit_component/reprieve_policy_types"
)

const (
	durationForm = "a duration reads like \"90s\", \"10m\" or \"1h\""
	sizeForm     = "a size reads like \"100KiB\" or \"32MiB\""
	known        = "known settings: interval, reset, memory-limit, manner, start"
	stampLength  = 12
)

var settings = struct {
	intervalMs, memoryLimit uint64
	manner                  policy.Manner
	daily, atLogin          bool
}{600_000, 32 << 20, policy.Manner_Unchanged, true, false}

var (
	msPerUnit    = map[string]uint64{"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
	bytesPerUnit = map[string]uint64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
	// In the order of the enum in the WIT.
	manners = []string{"unchanged", "empty", "busy", "refuse", "disconnect"}
)

func amount(value string, units map[string]uint64, right string) (uint64, error) {
	digits := len(value) - len(strings.TrimLeft(value, "0123456789"))
	number, err := strconv.ParseUint(value[:digits], 10, 64)
	unit, isKnown := units[strings.TrimLeft(value[digits:], " ")]
	over, amount := bits.Mul64(number, unit)
	if err != nil || !isKnown || over != 0 {
		return 0, fmt.Errorf("%s", right)
	}
	return amount, nil
}

func choice(value string, words ...string) (int, error) {
	for index, word := range words {
		if word == value {
			return index, nil
		}
	}
	return 0, fmt.Errorf("it can be \"%s\"", strings.Join(words, "\", \""))
}

func configureOne(key, value string) (err error) {
	var index int
	switch key {
	case "interval":
		settings.intervalMs, err = amount(value, msPerUnit, durationForm)
	case "memory-limit":
		settings.memoryLimit, err = amount(value, bytesPerUnit, sizeForm)
	case "reset":
		index, err = choice(value, "daily", "never")
		settings.daily = index == 0
	case "start":
		index, err = choice(value, "authenticated", "login")
		settings.atLogin = index == 1
	case "manner":
		index, err = choice(value, manners...)
		settings.manner = policy.Manner(index)
	default:
		err = fmt.Errorf("unknown setting; %s", known)
	}
	return err
}

// Configure parses the settings.
func Configure(given []wit.Tuple2[string, string]) wit.Result[wit.Unit, string] {
	for _, pair := range given {
		if err := configureOne(pair.F0, pair.F1); err != nil {
			return wit.Err[wit.Unit, string](fmt.Sprintf("`%.200s` is \"%.200s\"; %v", pair.F0, pair.F1, err))
		}
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

func pass() policy.Verdict { return policy.MakeVerdictPass(policy.Pass{}) }

func deny(standing policy.Standing, retryAfter uint64) policy.Verdict {
	// If the password is not known, let the mail server answer.
	letsNobodyIn := settings.manner == policy.Manner_Refuse || settings.manner == policy.Manner_Disconnect
	if letsNobodyIn && standing != policy.Standing_Known {
		return pass()
	}
	return policy.MakeVerdictDeny(policy.Deny{
		Manner:     settings.manner,
		RetryAfter: wit.Some(uint32(min(retryAfter, math.MaxUint32))),
		Reason:     "too-soon",
	})
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. User
// names contain no NUL.
func keyOf(claim policy.Claim) string {
	if claim.AuthorizationId.Tag() == wit.OptionNone {
		return claim.User
	}
	return claim.User + "\x00" + claim.AuthorizationId.Some()
}

// A stamp: the time, and the date packed into a number.
func stampOf(time policy.Moment) []byte {
	day := (int32(time.Date.Year)*16+int32(time.Date.Month))*32 + int32(time.Date.Day)
	stamp := binary.LittleEndian.AppendUint64(make([]byte, 0, stampLength), time.UnixMs)
	return binary.LittleEndian.AppendUint32(stamp, uint32(day))
}

func seconds(ms uint64) uint64 { return ms/1000 + min(ms%1000, 1) }

func ttl() wit.Option[uint32] {
	return wit.Some(uint32(min(seconds(settings.intervalMs), math.MaxUint32)))
}

func remember(key string, stamp []byte) {
	result := store.Set(key, stamp, ttl())
	if result.IsErr() && result.Err() == store.Refused_Quota {
		log.Line(log.Level_Warn, "the store's quota is reached before memory-limit: every user is forgotten")
		store.Clear()
		store.Set(key, stamp, ttl())
	}
}

// Whether the login passes; if not, the seconds until one would.
func passes(found wit.Option[[]byte], now []byte, secondOfDay uint32) (bool, uint64) {
	if found.Tag() == wit.OptionNone || len(found.Some()) != stampLength {
		return true, 0
	}
	last := found.Some()
	if settings.daily && binary.LittleEndian.Uint32(last[8:]) != binary.LittleEndian.Uint32(now[8:]) {
		return true, 0
	}
	lastMs, nowMs := binary.LittleEndian.Uint64(last), binary.LittleEndian.Uint64(now)
	// If the clock was set back, the user passes.
	if nowMs < lastMs || nowMs-lastMs >= settings.intervalMs {
		return true, 0
	}
	left := seconds(settings.intervalMs - (nowMs - lastMs))
	if settings.daily {
		left = min(left, uint64(max(86_400-int64(secondOfDay), 0)))
	}
	return false, left
}

// Decide judges a login by the stamp of the user's last one.
func Decide(login policy.Login) policy.Verdict {
	if settings.intervalMs == 0 {
		return pass()
	}
	if store.Usage() > settings.memoryLimit {
		log.Line(log.Level_Info, "memory-limit reached: every user is forgotten")
		store.Clear()
	}
	key, now := keyOf(login.Claim), stampOf(login.Time)
	found := store.Get(key)
	isPassing, retryAfter := passes(found, now, login.Time.SecondOfDay)
	if !isPassing {
		return deny(login.Claim.Standing, retryAfter)
	}
	if settings.atLogin {
		// Of simultaneous logins, the first to write passes.
		var written wit.Result[bool, store.Refused]
		if found.Tag() == wit.OptionSome {
			written = store.CompareAndSet(key, found.Some(), now, ttl())
		} else {
			written = store.Add(key, now, ttl())
		}
		if written.IsErr() {
			remember(key, now)
		} else if !written.Ok() {
			return deny(login.Claim.Standing, seconds(settings.intervalMs))
		}
	}
	return pass()
}

// Observe starts the clock of a user whose login the mail server has accepted.
func Observe(outcome policy.Outcome) {
	if !settings.atLogin && settings.intervalMs > 0 && outcome.Ending == policy.Ending_Authenticated {
		remember(keyOf(outcome.Claim), stampOf(outcome.Time))
	}
}
