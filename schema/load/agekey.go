package load

import (
	"fmt"
	"strings"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// privateKey is what is said of a private key where something public is wanted; it never quotes it.
const privateKey = "this is a private key: whoever has read it can open all secrets; make a new one, and change the secrets: Git keeps what was committed"

// ageKeyLength is how long the public half of a native age key is: age1, 32 bytes and a checksum in base32.
const ageKeyLength = 62

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
	sum, last := bech32(s)
	switch {
	case safe.HasPrivateKey(s):
		return privateKey
	case sum == 1 && last == len("age"):
		if len(s) == ageKeyLength {
			return ""
		}
		return "not a native age key; copy the line that age-keygen prints"
	case sum == 1:
		return "the key of a plugin or a post-quantum one, which cannot be mixed with those of nodes; age-keygen makes one that can"
	case len(s) != ageKeyLength:
		return fmt.Sprintf("%q has %d characters, and an age key %d: it was cut or mistyped", s, len(s), ageKeyLength)
	}
	return fmt.Sprintf("%q is mistyped: its checksum is wrong; copy the line that age-keygen prints", s)
}

// bech32 is the checksum of a text in the form of BIP 173, which is 1 where it is right, and where the part before the
// separator ends.
func bech32(s string) (sum uint32, last int) {
	const digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	last = strings.LastIndexByte(s, '1')
	if last < 1 {
		return 0, 0
	}
	sum = 1
	step := func(v uint32) {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ v
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for i := range last {
		step(uint32(s[i]) >> 5)
	}
	step(0)
	for i := range last {
		step(uint32(s[i]) & 31)
	}
	for i := last + 1; i < len(s); i++ {
		v := strings.IndexByte(digits, s[i])
		if v < 0 {
			return 0, last
		}
		step(uint32(v))
	}
	return sum, last
}
