package trust

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// A key that nothing can be encrypted to would keep a secret from all its readers, and the gossip key from the fleet.
func TestAKeyThatNothingCanBeEncryptedToIsNotLetIn(t *testing.T) {
	at, code := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), seed("code", 0)
	order8, err := hex.DecodeString("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
	if err != nil {
		t.Fatal(err)
	}
	good := newGuest(t, 1, "act-web", code, at)
	if _, err := ParseProof(good.Encode()); err != nil {
		t.Fatal(err)
	}
	last := byte('q')
	if strings.HasSuffix(good.Keys.Age, "q") {
		last = 'p'
	}
	for name, key := range map[string]string{
		"letters alone":          "age1" + strings.Repeat("q", 58),
		"another checksum":       good.Keys.Age[:61] + string(last),
		"the point 0":            ageRecipient(make([]byte, 32)),
		"the point 1":            ageRecipient(append([]byte{1}, make([]byte, 31)...)),
		"a point of order 8":     ageRecipient(order8),
		"the point 0, as others": "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
	} {
		g := newGuest(t, 1, "act-web", code, at, func(p *Proof) { p.Keys.Age = key })
		if _, err := ParseProof(g.Encode()); err == nil || !strings.Contains(err.Error(), "keys.age") {
			t.Errorf("%s: ParseProof = %v", name, err)
		}
		if _, err := ParseJoin(Join{Proof: g.Proof}.Encode()); err == nil || !strings.Contains(err.Error(), "keys.age") {
			t.Errorf("%s: ParseJoin = %v", name, err)
		}
	}
}

func TestJoinsAreJudged(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	code := seed("code", 0)
	act := schema.Activation{PublicKey: sshLine(code.Public().(ed25519.PublicKey)), Expires: now.Add(time.Hour), Limit: 2}
	gate := Gate{Fleet: "acme", Activations: map[string]schema.Activation{"act-web": act}, Now: now, Enrolled: func(string) int { return 1 },
		Known: func(string) bool { return false }, Member: func(string) (ed25519.PublicKey, bool) { return nil, false }}
	g := newGuest(t, 1, "act-web", code, now)
	for _, tt := range []struct {
		name string
		gate func(*Gate)
		join func(*Proof)
		want JoinKind
	}{
		{"a good one", nil, nil, ""},
		{"the last that there is room for", func(g *Gate) { g.Enrolled = func(string) int { return 1 } }, nil, ""},
		{"one too many", func(g *Gate) { g.Enrolled = func(string) int { return 2 } }, nil, JoinLimit},
		{"a second before the end", func(g *Gate) { g.Now = now.Add(time.Hour - time.Second) }, nil, ""},
		{"the end itself", func(g *Gate) { g.Now = now.Add(time.Hour) }, nil, JoinExpired},
		{"an activation of 31 days", func(g *Gate) {
			long := act
			long.Expires = now.Add(31 * 24 * time.Hour)
			g.Activations = map[string]schema.Activation{"act-web": long}
		}, nil, JoinExpired},
		{"revoked", func(g *Gate) { g.Activations = nil }, nil, JoinRevoked},
		{"another fleet", func(g *Gate) { g.Fleet = "x" }, nil, JoinFleet},
		{"known already", func(g *Gate) { g.Known = func(id string) bool { return true } }, nil, JoinReplay},
		{"from anywhere, where networks are given", func(g *Gate) {
			near := act
			near.Networks = []string{"10.0.0.0/8"}
			g.Activations = map[string]schema.Activation{"act-web": near}
		}, nil, JoinNetwork},
		{"a clock that is ahead", nil, func(p *Proof) { p.At = instant(now.Add(6 * time.Minute)) }, JoinTime},
		{"something changed after the code had signed", nil, func(p *Proof) { p.Name = "db-1" }, JoinCode},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gate, p := gate, g.Proof
			if tt.gate != nil {
				tt.gate(&gate)
			}
			if tt.join != nil {
				code := p.Code
				tt.join(&p)
				p = p.Sign(g.key, seed("code", 0))
				if tt.want == JoinCode {
					p.Code = code
				}
			}
			err := gate.Judge(Join{Proof: p})
			r := (*JoinRefusal)(nil)
			if got := errors.As(err, &r); got != (tt.want != "") || got && r.Kind != tt.want {
				t.Errorf("Judge = %v, want %q", err, tt.want)
			}
		})
	}
	// A proof is worth nothing on another connection, nor with another key on its own.
	r := (*JoinRefusal)(nil)
	if err := g.Arrives(exporter(1), g.Keys.TLS); err != nil {
		t.Error(err)
	}
	if err := g.Arrives(exporter(2), g.Keys.TLS); !errors.As(err, &r) || r.Kind != JoinRelay {
		t.Errorf("on another connection: %v", err)
	}
	if err := g.Arrives(exporter(1), strings.Repeat("e", 64)); !errors.As(err, &r) || r.Kind != JoinRelay {
		t.Errorf("with another key: %v", err)
	}
}

func TestWrongCodesLetNobodyIn(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	gate := Gate{Fleet: "acme", Now: now, Enrolled: func(string) int { return 0 }, Known: func(string) bool { return false },
		Activations: map[string]schema.Activation{"act-web": {PublicKey: sshLine(seed("code", 0).Public().(ed25519.PublicKey)), Expires: now.Add(time.Hour), Limit: 1000}}}
	g := newGuest(t, 1, "act-web", seed("code", 0), now)
	for n := range 100 { // 10,000 and their rate: agent.TestGuessesLetNobodyIn
		err := gate.Judge(Join{Proof: g.Proof.Sign(g.key, seed("guess", n))})
		if r := (*JoinRefusal)(nil); !errors.As(err, &r) || r.Kind != JoinCode {
			t.Fatalf("guess %d: %v", n, err)
		}
	}
}

func TestJoinsHaveOneForm(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	g := newGuest(t, 1, "act-web", seed("code", 0), now, func(p *Proof) { p.Tags = map[string]string{"role": "web"} })
	j := See(g.Proof, netip.MustParseAddr("10.1.2.3"), now, seed("host", 9))
	good := string(j.Encode())
	if back, err := ParseJoin([]byte(good)); err != nil || string(back.Encode()) != good {
		t.Fatalf("ParseJoin = %v, %v", back, err)
	}
	for name, bad := range map[string]string{
		"a blank":            strings.Replace(good, `":`, `": `, 1),
		"an unknown field":   strings.Replace(good, `"v":1`, `"v":1,"x":1`, 1),
		"a field twice":      strings.Replace(good, `"v":1`, `"v":1,"v":1`, 1),
		"another case":       strings.Replace(good, `"os"`, `"OS"`, 1),
		"a missing field":    strings.Replace(good, `"os":"debian",`, ``, 1),
		"another version":    strings.Replace(good, `"v":1`, `"v":2`, 1),
		"another name":       strings.Replace(good, `"web-1"`, `"web-2"`, 1),
		"another id":         strings.Replace(good, g.ID, schema.NodeID(seed("host", 2).Public().(ed25519.PublicKey)), 1),
		"an escape":          strings.Replace(good, `"web-1"`, `"web\u002d1"`, 1),
		"more after it":      good + "\n",
		"another address":    strings.Replace(good, `10.1.2.3`, `10.1.2.03`, 1),
		"another time":       strings.Replace(good, `12:00:00Z`, `12:00:00+00:00`, 1),
		"a channel in part":  strings.Replace(good, `"tls:00`, `"tls:`, 1),
		"no JSON":            "join",
		"nothing":            "",
		"too much":           good + strings.Repeat(" ", MaxJoin),
		"no UTF-8":           strings.Replace(good, `web-1`, "web\xff", 1),
		"a null":             "null",
		"a signature's tail": strings.Replace(good, `=="}`, `="}`, 1),
	} {
		if bad == good {
			t.Errorf("%s: the test changes nothing", name)
		}
		if _, err := ParseJoin([]byte(bad)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	// Not one byte of a proof may change.
	proof := g.Proof.Encode()
	for i := range proof {
		b := bytes.Clone(proof)
		b[i] ^= 1
		p, err := ParseProof(b)
		if err != nil {
			continue
		}
		// What the host's signature does not cover is the code's.
		p.Code = g.Code
		if !bytes.Equal(p.Encode(), proof) {
			t.Errorf("byte %d may change: %s", i, b)
		}
	}
}

func FuzzJoin(f *testing.F) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	g := newGuest(f, 1, "act-web", seed("code", 0), now, func(p *Proof) { p.Tags = map[string]string{"role": "web", "é": "x y"} })
	f.Add(Join{Proof: g.Proof}.Encode())
	f.Add(See(g.Proof, netip.MustParseAddr("2001:db8::1"), now, seed("host", 9)).Encode())
	f.Add([]byte(`{"proof":{"keys":{}}}`))
	gate := Gate{Fleet: "acme", Now: now, Enrolled: func(string) int { return 0 }, Known: func(string) bool { return false },
		Member:      func(string) (ed25519.PublicKey, bool) { return seed("host", 9).Public().(ed25519.PublicKey), true },
		Activations: map[string]schema.Activation{"act-web": {PublicKey: sshLine(seed("code", 0).Public().(ed25519.PublicKey)), Expires: now.Add(time.Hour), Limit: 1}}}
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := ParseJoin(text)
		if err != nil {
			return
		}
		if !bytes.Equal(j.Encode(), text) {
			t.Errorf("%q and %q are one join", text, j.Encode())
		}
		if gate.Judge(j) == nil && !bytes.Equal(j.Proof.Encode(), g.Proof.Encode()) {
			t.Errorf("who does not hold the code is let in: %q", text)
		}
		if len(text) > MaxJoin || len(j.Proof.Encode()) > MaxProof || j.Proof.Name == "" || j.Proof.ID == j.Proof.Name {
			t.Errorf("taken: %q", text)
		}
		if p, err := ParseProof(j.Proof.Encode()); err != nil || !maps.Equal(p.Tags, j.Proof.Tags) {
			t.Errorf("its proof is not taken: %v", err)
		}
	})
}
