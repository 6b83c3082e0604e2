package safe

import (
	"regexp"
	"strings"
	"sync"
)

// private are private keys of age, and what is left of one that was cut.
var private = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)AGE-(SECRET-KEY|PLUGIN-[0-9A-Z._+-]*)-(PQ-)?1[0-9A-Z]+`)
})

// HasPrivateKey reports whether a private key of age stands in s.
func HasPrivateKey(s string) bool { return HidePrivateKeys(s) != s }

// HidePrivateKeys writes asterisks, as many, in the place of each private key of age that stands in s. Somebody who took
// it for the public one has put it there; what shows their mistake should not show the key.
func HidePrivateKeys(s string) string {
	if !mayHold(s) {
		return s
	}
	return private().ReplaceAllStringFunc(s, func(key string) string {
		const head = len("AGE-")
		return key[:head] + strings.Repeat("*", len(key)-head)
	})
}

// mayHold is quick where there is none.
func mayHold(s string) bool {
	for i := strings.IndexByte(s, '-'); i >= 0 && i < len(s); {
		if i >= 3 && strings.EqualFold(s[i-3:i], "age") {
			return true
		}
		n := strings.IndexByte(s[i+1:], '-')
		if n < 0 {
			return false
		}
		i += 1 + n
	}
	return false
}
