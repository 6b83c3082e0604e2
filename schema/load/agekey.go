package load

import (
	"fmt"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// privateKey is what is said of a private key where something public is wanted; it never quotes it.
const privateKey = "this is a private key: whoever has read it can open all secrets; make a new one, and change the secrets: Git keeps what was committed"

// recoveryKeys checks that each key is whole, rightly typed, and there once: a lost secret shows what was not.
func (l *loading) recoveryKeys(o *object, p path, keys []*value) {
	first := map[string]int{}
	for i, k := range keys {
		if k.k != kString {
			continue
		}
		q := p.index(i)
		if m := ageKeyFault(k.s); m != "" {
			l.wrong(o, q, m)
			continue
		}
		if j, twice := first[k.s]; twice {
			l.wrong(o, q, fmt.Sprintf("the same key as recovery[%d]; each is another, kept in another place", j))
			continue
		}
		first[k.s] = i
	}
}

// ageKeyFault says what is wrong with the public half of an age key; empty where nothing is.
func ageKeyFault(s string) string {
	if safe.HasPrivateKey(s) {
		return privateKey
	}
	if err := schema.CheckAgeKey(s); err != nil {
		return err.Error()
	}
	return ""
}
