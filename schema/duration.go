package schema

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Duration is a length of time as its author wrote it: Go's form plus days ("90m", "1h30m", "7d"). Never negative.
type Duration string

// Std is the duration as a number. A malformed text is 0: the loader has refused it before.
func (d Duration) Std() time.Duration {
	v, err := ParseDuration(string(d))
	if err != nil {
		return 0
	}
	return v
}

// ParseDuration reads numbers each followed by d, h, m, s or ms; a day is 24 hours.
// It fails on an empty text, another unit, a sign, or more than 292 years.
func ParseDuration(s string) (time.Duration, error) {
	units := map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second, "ms": time.Millisecond}
	var total float64
	rest := s
	for first := true; first || rest != ""; first = false {
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
			n++
		}
		u := n
		for u < len(rest) && rest[u] >= 'a' && rest[u] <= 'z' {
			u++
		}
		unit, known := units[rest[n:u]]
		v, err := strconv.ParseFloat(rest[:n], 64)
		if n == 0 || !known || err != nil {
			return 0, fmt.Errorf("%q is not a duration such as \"90m\", \"3h\" or \"7d\"", s)
		}
		total += v * float64(unit)
		rest = rest[u:]
	}
	if total >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is longer than 292 years", s)
	}
	return time.Duration(total), nil
}
