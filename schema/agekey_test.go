package schema_test

import (
	"math/big"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/schema"
)

// ageKeyOf writes 32 bytes as a native age key; pad are the last 4 bits.
func ageKeyOf(point []byte, pad int64) string {
	const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	n := new(big.Int).SetBytes(point)
	n.Lsh(n, 4).Or(n, big.NewInt(pad))
	digits := make([]byte, 52)
	for i := range digits {
		digits[i] = byte(new(big.Int).And(new(big.Int).Rsh(n, uint(5*(51-i))), big.NewInt(31)).Int64())
	}
	sum := uint32(1)
	for _, v := range append(append([]byte{3, 3, 3, 0, 'a' & 31, 'g' & 31, 'e' & 31}, digits...), 0, 0, 0, 0, 0, 0) {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ uint32(v)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	sum ^= 1
	for i := range 6 {
		digits = append(digits, byte(sum>>(5*(5-i))&31))
	}
	var b strings.Builder
	b.WriteString("age1")
	for _, d := range digits {
		b.WriteByte(alphabet[d])
	}
	return b.String()
}

// littleEndian is 2^255 - 19 and more, as a point.
func littleEndian(more int64) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), 255)
	b := n.Add(n, big.NewInt(more-19)).FillBytes(make([]byte, 32))
	for i := range 16 {
		b[i], b[31-i] = b[31-i], b[i]
	}
	return b
}

// The keys that age-keygen makes are keys; of texts that age takes, too, each key has one.
func TestAgeKeys(t *testing.T) {
	for range 200 {
		k, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		s := k.Recipient().String()
		if err := schema.CheckAgeKey(s); err != nil {
			t.Fatal(err)
		}
		for i := range s { // the checksum notices every wrong character
			wrong := s[:i] + string("qp"[strings.Count(s[i:i+1], "q")]) + s[i+1:]
			if schema.CheckAgeKey(wrong) == nil {
				t.Fatalf("CheckAgeKey(%q) = nil, and %q is right", wrong, s)
			}
		}
	}
	ordinary := littleEndian(-1234567)
	if s := ageKeyOf(ordinary, 0); schema.CheckAgeKey(s) != nil {
		t.Errorf("CheckAgeKey(%q) = %v", s, schema.CheckAgeKey(s))
	}
	negative := append([]byte(nil), ordinary...)
	negative[31] |= 0x80 // which X25519 does not look at
	order8 := []byte("\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00")
	other8 := []byte("\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57")
	const other, low = "other text stands for the same key", "low order"
	for _, tt := range []struct{ name, key, want string }{
		{"nothing", "", "0 characters"},
		{"letters alone", "age1" + strings.Repeat("q", 58), "checksum"},
		{"capitals", strings.ToUpper(ageKeyOf(ordinary, 0)), "checksum"},
		{"cut", ageKeyOf(ordinary, 0)[:60], "60 characters"},
		{"a plugin", "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "plugin"},
		{"not 32 bytes", ageKeyOf(ordinary, 1), other},
		{"the sign of the point", ageKeyOf(negative, 0), other},
		{"the prime", ageKeyOf(littleEndian(0), 0), other},
		{"more than the prime", ageKeyOf(littleEndian(1), 0), other},
		{"all ones", ageKeyOf(littleEndian(18), 0), other},
		{"0", ageKeyOf(make([]byte, 32), 0), low},
		{"1", ageKeyOf(append([]byte{1}, make([]byte, 31)...), 0), low},
		{"the prime less 1", ageKeyOf(littleEndian(-1), 0), low},
		{"of order 8", ageKeyOf(order8, 0), low},
		{"the other of order 8", ageKeyOf(other8, 0), low},
	} {
		err := schema.CheckAgeKey(tt.key)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: CheckAgeKey(%q) = %v, want one with %q", tt.name, tt.key, err, tt.want)
		}
	}
	// What age does not encrypt to is never taken.
	for _, p := range [][]byte{make([]byte, 32), littleEndian(-1), littleEndian(0), littleEndian(1), littleEndian(-2), littleEndian(2), order8, other8} {
		s := ageKeyOf(p, 0)
		k, err := age.ParseX25519Recipient(s)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if _, err := k.Wrap(make([]byte, 16)); err != nil && schema.CheckAgeKey(s) == nil {
			t.Errorf("CheckAgeKey(%q) = nil, and age says %v", s, err)
		}
	}
}
