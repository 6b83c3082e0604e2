package load

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// node makes a roster line for the n-th of a row of keys, with its id.
func node(t testing.TB, n byte, name string) (id, line string) {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	pub := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	sign := "ssh-ed25519 " + base64.StdEncoding.EncodeToString(append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), pub...))
	id, err := nodeID(sign)
	if err != nil {
		t.Fatal(err)
	}
	return id, fmt.Sprintf(`{"added":"2026-11-20T09:00:00Z","id":"%s","keys":{"age":"%s","sign":"%s","tls":"%s"},"name":"%s","os":"debian","state":"active","tags":{"role":"web"}}`,
		id, ageKey(name), sign, hex.EncodeToString(pub), name)
}

// ageKey writes the public half of a key that belongs to a text.
func ageKey(text string) string {
	const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	point := sha256.Sum256([]byte(text))
	point[31] &= 0x7f
	n := new(big.Int).SetBytes(point[:])
	n.Lsh(n, 4) // of 52 digits of 5 bits
	s := "age1"
	sum := uint32(1)
	step := func(v uint32) {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ v
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	for _, v := range []uint32{3, 3, 3, 0, 'a' & 31, 'g' & 31, 'e' & 31} {
		step(v)
	}
	for i := range 52 {
		d := new(big.Int).Rsh(n, uint(5*(51-i))).Uint64() & 31
		step(uint32(d))
		s += alphabet[d : d+1]
	}
	for range 6 {
		step(0)
	}
	sum ^= 1
	for i := range 6 {
		d := sum >> (5 * (5 - i)) & 31
		s += alphabet[d : d+1]
	}
	return s
}

func TestRoster(t *testing.T) {
	id, good := node(t, 1, "web-1")
	file := "nodes/" + id[:2] + ".jsonl"
	other, _ := node(t, 2, "web-2")
	key := good[strings.Index(good, "age1"):][:62]
	mistyped := key[:61] + string("qp"[strings.Count(key[61:], "q")])
	const zero = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"
	for _, tt := range []struct{ name, file, text, want string }{
		{"a line as it should be", file, good + "\n", ""},
		{"no newline at the end", file, good, file + ":1:1: the last line has no newline at its end\n"},
		{"another file", "nodes/zz.jsonl", good + "\n", "nodes/zz.jsonl:1:38: id: a node with this id belongs in nodes/" + id[:2] + ".jsonl\n"},
		{"an unknown field", file, strings.Replace(good, `"os"`, `"note":"x","os"`, 1) + "\n",
			file + ":1:350: note: no such field (did you mean \"name\"?); allowed: id, name, tags, os, keys, state, added\n"},
		{"a missing field", file, strings.Replace(good, `,"os":"debian"`, ``, 1) + "\n", file + ":1:1: os: required; an ID of os-release in lower case such as \"debian\"\n"},
		{"blanks", file, strings.Replace(good, `":`, `": `, 1) + "\n", file + ":1:10: not canonical JSON (RFC 8785): keys sorted, no blanks, nothing escaped without need\n"},
		{"an id of another key", file, strings.Replace(good, id, other, 1) + "\n", file + ":1:38: id: \"" + other + "\" is not the id of keys.sign; that is \"" + id + "\"\n"},
		{"an age key with another checksum", file, strings.Replace(good, key, mistyped, 1) + "\n",
			file + ":1:81: keys.age: \"" + mistyped + "\" is mistyped: its checksum is wrong; copy the line that age-keygen prints\n"},
		{"an age key that takes nothing", file, strings.Replace(good, key, zero, 1) + "\n",
			file + ":1:81: keys.age: nothing can be encrypted to \"" + zero + "\": it is a point of low order, which nobody has the private half of\n"},
		{"the same line twice", file, good + "\n" + good + "\n", file + ":2:38: id: already in " + file + ":1\n"},
		{"no JSON", file, "web-1\n", file + ":1:1: not a line of JSON: invalid character 'w' where a value is wanted\n"},
		{"a blank line", file, good + "\n\n", file + ":2:1: a blank line: take it out\n"},
		{"a key twice", file, `{"id":"a","id":"b"}` + "\n", file + ":1:1: not a line of JSON: \"id\" is given twice\n"},
		{"a day that does not exist", file, strings.Replace(good, "2026-11-20", "2026-02-30", 1) + "\n", file + ":1:10: added: \"2026-02-30T09:00:00Z\" is not in the calendar\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := files("-- a.cue --\n")
			m[tt.file] = &fstest.MapFile{Data: []byte(tt.text)}
			got := lines(faultsOf(t, thisBuild(), m))
			if tt.name == "the same line twice" { // its name and keys are taken, too
				got, _, _ = strings.Cut(got, "\n")
				got += "\n"
			}
			if tt.name == "an unknown field" {
				got, tt.want = got[strings.Index(got, " "):], tt.want[strings.Index(tt.want, " "):]
			}
			if got != tt.want {
				t.Errorf("faults:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

func TestRosterIsSortedById(t *testing.T) {
	m := files("-- a.cue --\n")
	var ids []string
	for n := range byte(9) {
		id, line := node(t, n, fmt.Sprintf("web-%d", n))
		ids = append(ids, id)
		m["nodes/"+id[:2]+".jsonl"] = &fstest.MapFile{Data: []byte(line + "\n")}
	}
	slices.Sort(ids)
	repo, faults, err := thisBuild()(t.Context(), m)
	if err != nil || len(faults) > 0 || len(repo.Roster) != len(ids) {
		t.Fatal(repo.Roster, faults, err)
	}
	for i, n := range repo.Roster {
		if n.ID != ids[i] {
			t.Errorf("roster[%d] is %s, want %s", i, n.ID, ids[i])
		}
	}
}

func FuzzRoster(f *testing.F) {
	id, good := node(f, 1, "web-1")
	f.Add("nodes/"+id[:2]+".jsonl", []byte(good+"\n"))
	f.Add("nodes/ab.jsonl", []byte(`{"id":1}`))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		if !strings.HasPrefix(name, "nodes/") || !strings.HasSuffix(name, ".jsonl") || len(text) > 4096 {
			return
		}
		defs, err := definitions()
		if err != nil {
			t.Fatal(err)
		}
		l := &loading{tree: &tree.Tree{Content: map[string][]byte{name: text}}, defs: defs}
		l.roster()
		if len(l.faults) == 0 && len(text) > 0 && len(l.repo.Roster) != strings.Count(string(text), "\n") {
			t.Errorf("%q: %d nodes and no faults", text, len(l.repo.Roster))
		}
		for _, f := range l.faults {
			if f.Line < 1 || f.Column < 1 || f.Column > len(text)+1 {
				t.Errorf("%q: fault out of place: %+v", text, f)
			}
		}
	})
}
