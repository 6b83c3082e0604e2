package agent

import (
	"crypto/ed25519"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Who has a code chooses what its proof says, and a role may let it in by itself: no proof that counts makes a line of the
// roster that the loader refuses, since the branch would stand still until somebody takes it out.
func TestNoProofMakesALineThatIsRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	words := []string{"", "a", "web-1", "-", ".", "..", "a.b_c-", "A", "é", "\u00a0", "\u2028", "\u2000", "½", "²", "Ⅷ", "٣", "ﬁ", "\ufffd", "\xff", "\U00020000", "\u200b", "\x00", "\n", " ", "  x ", "a=b", "{{ssm:/x}}",
		"a\u0301", "//", "@", "+", "windows", "debian", "0", "9x", "_", "a_", "abcdefghijklmnopqrstuvwxyz", "aaaaaaaaaaaaaaaaaaaaaaaaaa", strings.Repeat("n", 32), strings.Repeat("n", 33), strings.Repeat("é", 128), strings.Repeat("é", 129),
		strings.Repeat("n", 253), strings.Repeat("n", 254), strings.Repeat("v", 256), strings.Repeat("v", 257), strings.Repeat("0", 64), strings.Repeat("A", 64), strings.Repeat("g", 64)}
	word := func() string {
		s := words[r.IntN(len(words))]
		if r.IntN(3) == 0 {
			s += words[r.IntN(len(words))]
		}
		return s
	}
	read := load.InProcess(changedOptions())
	fleet := &fstest.MapFile{Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	taken := 0
	for n := range 1500 {
		recipient, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		key := codeOf(1000 + n)
		p := trust.Proof{Fleet: "acme", Activation: "act-web", Channel: trust.TLSChannel(make([]byte, 32)), At: at.Format(time.RFC3339), ID: schema.NodeID(key.Public().(ed25519.PublicKey)),
			Name: "web-1", OS: "debian", Keys: schema.RosterKeys{Sign: publicLine(key), Age: recipient.Recipient().String(), TLS: strings.Repeat("a", 64)}}
		for range 1 + r.IntN(2) {
			switch r.IntN(6) {
			case 0:
				p.Name = word()
			case 1:
				p.OS = word()
			case 2:
				p.Keys.TLS = word()
			case 3:
				b := []byte(p.Keys.Age)
				b[4+r.IntN(len(b)-4)] = "qpzry9x8gf2tvdw0s3jn54khce6mua7lbio1"[r.IntN(36)]
				p.Keys.Age = string(b)
			case 4:
				p.Keys.Sign = p.Keys.Sign + word()
			default:
				p.Tags = map[string]string{}
				for range 1 + r.IntN(4) {
					p.Tags[word()] = word()
				}
			}
		}
		p = p.Sign(key, codeOf(0))
		if p, err = trust.ParseProof(p.Encode()); err != nil {
			continue
		}
		taken++
		line := p.Line(p.Name, p.Tags, at)
		_, faults, err := read(t.Context(), fstest.MapFS{"fleet.cue": fleet, trust.RosterFile(p.ID): {Data: append(line, '\n')}})
		if err != nil || schema.Refused(faults) {
			t.Errorf("the proof of %q counts, and its line is refused: %v %v\n%s", p.Name, err, faults, line)
		}
	}
	if taken < 100 {
		t.Errorf("%d proofs counted: the test looks at one side only", taken)
	}
}
