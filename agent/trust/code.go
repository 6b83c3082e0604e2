package trust

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// codePrefix begins a code, so that people and programs that look for secrets know one.
const codePrefix = "dunlin1-"

const codeCheck = 3 // bytes of its checksum

func codeForm() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// FormatCode writes the private half of an activation's key so that it is easily copied: 256 bits and a checksum of 24.
func FormatCode(key ed25519.PrivateKey) string {
	text := codeForm().EncodeToString(append(key.Seed(), checksum(key.Seed())...))
	var groups []string
	for ; len(text) > 0; text = text[8:] {
		groups = append(groups, text[:8])
	}
	return codePrefix + strings.Join(groups, "-")
}

func checksum(seed []byte) []byte {
	sum := sha256.Sum256(append([]byte("dunlin-code/v1"), seed...))
	return sum[:codeCheck]
}

// ParseCode reads a code. Blanks, dashes, line ends and capitals do not count, so that one may be typed. No error holds any of it.
func ParseCode(text string) (ed25519.PrivateKey, error) {
	if len(text) > 1<<10 {
		return nil, errors.New("this is no code: it is too long")
	}
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n-", r) {
			return -1
		}
		return r
	}, strings.ToLower(text))
	plain, ok := strings.CutPrefix(plain, strings.TrimSuffix(codePrefix, "-"))
	if !ok {
		return nil, fmt.Errorf("this is no code: one begins with %s", codePrefix)
	}
	want := codeForm().EncodedLen(ed25519.SeedSize + codeCheck)
	if len(plain) != want {
		return nil, fmt.Errorf("the code is mistyped: it has %d characters after %s where there are %d", len(plain), codePrefix, want)
	}
	b, err := codeForm().DecodeString(plain)
	if err != nil {
		return nil, errors.New("the code is mistyped: it has a character that none has; they are a to z and 2 to 7")
	}
	if seed := b[:ed25519.SeedSize]; string(checksum(seed)) == string(b[ed25519.SeedSize:]) {
		return ed25519.NewKeyFromSeed(seed), nil
	}
	return nil, errors.New("the code is mistyped: its checksum does not fit")
}
