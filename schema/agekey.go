package schema

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ageKeyLength is how long the public half of a native age key is: age1, 32 bytes and a checksum in base32.
const ageKeyLength = 62

// CheckAgeKey says what is wrong with the public half of a native age key (age1..., X25519), and nothing where secrets can be
// encrypted to it. It takes one text a key, the one that age-keygen prints, where age takes several; and it refuses the
// points of low order, which age refuses only when it encrypts. The error quotes the text.
//
// It is written here, and held against age by its test, because the loader, join proofs and who encrypts must agree, this
// package is all that they share, and it imports the standard library only.
func CheckAgeKey(s string) error {
	data, last, ok := bech32(s)
	switch {
	case ok && last == len("age"):
		if len(s) == ageKeyLength && strings.HasPrefix(s, "age1") {
			return checkPoint(s, data)
		}
		return errors.New("not a native age key; copy the line that age-keygen prints")
	case ok:
		return errors.New("the key of a plugin or a post-quantum one, which cannot be mixed with those of nodes; age-keygen makes one that can")
	case len(s) != ageKeyLength:
		return fmt.Errorf("%q has %d characters, and an age key %d: it was cut or mistyped", s, len(s), ageKeyLength)
	}
	return fmt.Errorf("%q is mistyped: its checksum is wrong; copy the line that age-keygen prints", s)
}

// checkPoint tells whether 52 digits in base32 are the u coordinate of a point on curve 25519, less than the prime 2^255-19
// (RFC 7748, section 5), and not of low order.
func checkPoint(s string, digits []byte) error {
	var b [33]byte // little-endian; the last byte has what is over
	acc, bits, at := uint(0), 0, 0
	for _, d := range digits {
		if acc, bits = acc<<5|uint(d), bits+5; bits >= 8 {
			bits -= 8
			b[at] = byte(acc >> bits)
			at++
		}
	}
	b[at] = byte(acc << (8 - bits))
	u := b[:32]
	other := u[31] >= 0x80 || u[31] == 0x7f && u[0] >= 0xed && bytes.Count(u[1:31], []byte{0xff}) == 30
	if b[32] != 0 || other {
		return fmt.Errorf("%q is not written as age-keygen writes it: other text stands for the same key", s)
	}
	for _, p := range lowOrder {
		if string(u) == p {
			return fmt.Errorf("nothing can be encrypted to %q: it is a point of low order, which nobody has the private half of", s)
		}
	}
	return nil
}

// lowOrder are the points of curve 25519 and its twist whose order divides 8.
var lowOrder = [...]string{
	strings.Repeat("\x00", 32),
	"\x01" + strings.Repeat("\x00", 31),
	"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00",
	"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57",
	"\xec" + strings.Repeat("\xff", 30) + "\x7f",
}

// bech32 reads a text in the form of BIP 173: its digits without the checksum, where the part before the separator ends,
// and whether the checksum is right. Capitals are no digits.
func bech32(s string) (digits []byte, last int, ok bool) {
	const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	if last = strings.LastIndexByte(s, '1'); last < 1 || len(s)-last-1 < 6 {
		return nil, 0, false
	}
	sum := uint32(1)
	step := func(v byte) {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ uint32(v)
		for i, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for i := range last {
		step(s[i] >> 5)
	}
	step(0)
	for i := range last {
		step(s[i] & 31)
	}
	digits = make([]byte, 0, len(s)-last-1)
	for i := last + 1; i < len(s); i++ {
		v := strings.IndexByte(alphabet, s[i])
		if v < 0 {
			return nil, last, false
		}
		step(byte(v))
		digits = append(digits, byte(v))
	}
	return digits[:len(digits)-6], last, sum == 1
}
