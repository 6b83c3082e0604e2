package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// seed is the n-th of a row of keys for a purpose.
func seed(purpose string, n int) ed25519.PrivateKey {
	sum := sha256.Sum256(fmt.Append(nil, purpose, n))
	return ed25519.NewKeyFromSeed(sum[:])
}

func sshLine(key ed25519.PublicKey) string {
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), key...))
}

// ageRecipient is a point as age writes it: Bech32 (BIP 173), whether anything can be encrypted to it or not.
func ageRecipient(point []byte) string {
	const letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	var five []byte
	bits, n := 0, 0
	for _, b := range point {
		bits, n = bits<<8|int(b), n+8
		for ; n >= 5; n -= 5 {
			five = append(five, byte(bits>>(n-5)&31))
		}
		bits &= 1<<n - 1
	}
	if n > 0 {
		five = append(five, byte(bits<<(5-n)))
	}
	sum := uint32(1)
	for _, v := range append(append([]byte{3, 3, 3, 0, 'a' & 31, 'g' & 31, 'e' & 31}, five...), 0, 0, 0, 0, 0, 0) {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	sum ^= 1
	for i := range 6 {
		five = append(five, byte(sum>>(5*(5-i))&31))
	}
	text := []byte("age1")
	for _, v := range five {
		text = append(text, letters[v])
	}
	return string(text)
}

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

func exporter(n int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24), uint64(n)) }

// guest is the n-th host that wants to be a node.
type guest struct {
	key ed25519.PrivateKey
	Proof
}

func newGuest(t testing.TB, n int, act string, code ed25519.PrivateKey, at time.Time, change ...func(*Proof)) guest {
	t.Helper()
	point := sha256.Sum256(fmt.Append(nil, "age", n)) // the same in each process of a fuzzer
	point[31] &= 0x7f
	recipient := ageRecipient(point[:])
	g := guest{key: seed("host", n)}
	pub := g.key.Public().(ed25519.PublicKey)
	g.Proof = Proof{Fleet: "acme", Activation: act, Channel: TLSChannel(exporter(n)), At: instant(at), ID: schema.NodeID(pub), Name: fmt.Sprintf("web-%d", n), OS: "debian",
		Keys: schema.RosterKeys{Sign: sshLine(pub), Age: recipient, TLS: fmt.Sprintf("%064x", n)}}
	for _, f := range change {
		f(&g.Proof)
	}
	g.Proof = g.Proof.Sign(g.key, code)
	return g
}

// hall is a repository with an activation, people, and a role that lets nodes in.
type hall struct {
	*gitRepo
	code    ed25519.PrivateKey
	texts   map[string][]byte // of nodes/
	trusted string
	open    string // what activations/all.cue says at first
	n       int
}

func newHall(t *testing.T, change ...func(*schema.Activation)) *hall {
	h := &hall{gitRepo: newGitRepo(t, "alice", "bot", "eve"), code: seed("code", 0), texts: map[string][]byte{}}
	h.acts = map[string]map[string]schema.Activation{}
	act := schema.Activation{PublicKey: sshLine(h.code.Public().(ed25519.PublicKey)), Expires: h.clock.Add(24 * time.Hour), Limit: 3, Tags: map[string]string{"role": "web"}, CreatedBy: "alice"}
	for _, f := range change {
		f(&act)
	}
	h.open = h.activations(map[string]schema.Activation{"act-web": act, "act-db": {
		PublicKey: sshLine(seed("code", 1).Public().(ed25519.PublicKey)), Expires: h.clock.Add(24 * time.Hour), Limit: 3, Tags: map[string]string{"role": "db"}}})
	h.trusted = h.commit("alice", map[string]string{"fleet.cue": h.rules(), "activations/all.cue": h.open})
	return h
}

func (h *hall) rules() string {
	return h.fleet(schema.Fleet{Signers: h.signers("alice=root,policy", "bot=enrol"), Roles: map[string]schema.Role{
		"root": {Paths: rootPaths(), Threshold: 1}, "policy": {Paths: []string{"**"}, Threshold: 1},
		"enrol": {Paths: []string{"nodes/**"}, Threshold: 1, Activations: []string{"act-web"}}}})
}

func (h *hall) activations(acts map[string]schema.Activation) string {
	text := fmt.Sprintf("package fleet // activations %d\n", len(h.acts))
	h.acts[text] = acts
	return text
}

func (h *hall) guest(change ...func(*Proof)) guest {
	h.n++
	return newGuest(h.t, h.n, "act-web", h.code, h.clock, change...)
}

// enrols gives the files that a node and its proof change.
func (h *hall) enrols(gs ...guest) map[string]string {
	files := map[string]string{}
	for _, g := range gs {
		h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "web"}, h.clock))
		h.add(files, JoinFile(g.Activation, g.ID), Join{Proof: g.Proof}.Encode())
	}
	return files
}

func (h *hall) add(files map[string]string, path string, line []byte) {
	h.t.Helper()
	text := []byte(files[path])
	if len(text) == 0 {
		text, _ = os.ReadFile(filepath.Join(h.dir, path))
	}
	text, err := Insert(text, line)
	if err != nil {
		h.t.Fatal(err)
	}
	files[path] = string(text)
}

// pushes lets somebody commit, and gives what a host says; what is refused is taken back.
func (h *hall) pushes(who string, files map[string]string) error {
	h.t.Helper()
	head := h.commit(who, files)
	steps, err := h.verify(h.trusted, head)
	if err == nil {
		h.trusted = head
		if len(steps) != 1 {
			h.t.Errorf("%d steps", len(steps))
		}
		return nil
	}
	if r := (*Refusal)(nil); !errors.As(err, &r) || r.Kind != NotAgreed {
		h.t.Errorf("the refusal is %v", err)
	}
	h.git("reset", "-q", "--hard", h.trusted)
	return err
}

func saysNo(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want a refusal that says %q", err, want)
	}
}

func TestAnEnrolmentRoleAddsNodes(t *testing.T) {
	h := newHall(t)
	if err := h.pushes("bot", h.enrols(h.guest())); err != nil {
		t.Fatal(err)
	}
	if err := h.pushes("bot", h.enrols(h.guest(), h.guest())); err != nil {
		t.Fatal(err)
	}
	// Limits are exact: three is what the activation is for.
	saysNo(t, h.pushes("bot", h.enrols(h.guest())), "is for 3, and as many have enrolled")
	// A node that is retired, or whose line is gone, leaves no room behind.
	files := map[string]string{}
	gone := ""
	for _, path := range strings.Fields(h.git("ls-files", "nodes/*.jsonl")) {
		if !strings.Contains(path, "joins") && gone == "" {
			gone = path
			files[path] = ""
		}
	}
	if err := h.pushes("alice", files); err != nil {
		t.Fatal(err)
	}
	saysNo(t, h.pushes("bot", h.enrols(h.guest())), "as many have enrolled")
}

func TestLimitsAreExactWhereSeveralEnrolAtOnce(t *testing.T) {
	h := newHall(t)
	saysNo(t, h.pushes("bot", h.enrols(h.guest(), h.guest(), h.guest(), h.guest())), "as many have enrolled")
	// Two machines with enrolment keys each add two to what they know; the branch takes one, and what the other makes of
	// that is too many.
	one, two := []guest{h.guest(), h.guest()}, []guest{h.guest(), h.guest()}
	if err := h.pushes("bot", h.enrols(one...)); err != nil {
		t.Fatal(err)
	}
	saysNo(t, h.pushes("bot", h.enrols(two...)), "as many have enrolled")
	if err := h.pushes("bot", h.enrols(two[0])); err != nil {
		t.Error(err)
	}
}

func TestAnEnrolmentRoleMayDoNothingElse(t *testing.T) {
	member := seed("host", 1000)
	shared := newHall(t, func(a *schema.Activation) { a.Limit = 1000 })
	for _, tt := range []struct {
		name string
		do   func(h *hall) error
		want string
	}{
		{"no line without a proof", func(h *hall) error {
			g := h.guest()
			files := map[string]string{}
			h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "web"}, h.clock))
			return h.pushes("bot", files)
		}, "has no proof"},
		{"no proof without a line", func(h *hall) error {
			g := h.guest()
			files := map[string]string{}
			h.add(files, JoinFile("act-web", g.ID), Join{Proof: g.Proof}.Encode())
			return h.pushes("bot", files)
		}, "of no node that is added"},
		{"no other tags", func(h *hall) error {
			g := h.guest()
			files := map[string]string{}
			h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "web", "env": "prod"}, h.clock))
			h.add(files, JoinFile("act-web", g.ID), Join{Proof: g.Proof}.Encode())
			return h.pushes("bot", files)
		}, "is not the one that its proof and the tags of activation"},
		{"no other name", func(h *hall) error {
			g := h.guest()
			files := map[string]string{}
			h.add(files, RosterFile(g.ID), g.Line("db-1", map[string]string{"role": "web"}, h.clock))
			h.add(files, JoinFile("act-web", g.ID), Join{Proof: g.Proof}.Encode())
			return h.pushes("bot", files)
		}, "is not the one that its proof"},
		{"no tags that a host asks for and the activation does not give", func(h *hall) error {
			return h.pushes("bot", h.enrols(h.guest(func(p *Proof) { p.Tags = map[string]string{"role": "db"} })))
		}, "asks for tags"},
		{"no activation of others", func(h *hall) error {
			h.n++
			g := newGuest(h.t, h.n, "act-db", seed("code", 1), h.clock)
			files := map[string]string{}
			h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "db"}, h.clock))
			h.add(files, JoinFile("act-db", g.ID), Join{Proof: g.Proof}.Encode())
			return h.pushes("bot", files)
		}, "not one of its own"},
		{"no proof in the folder of another activation", func(h *hall) error {
			h.n++
			g := newGuest(h.t, h.n, "act-db", seed("code", 1), h.clock)
			files := map[string]string{}
			h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "web"}, h.clock))
			h.add(files, JoinFile("act-web", g.ID), Join{Proof: g.Proof}.Encode())
			return h.pushes("bot", files)
		}, "belongs into nodes/joins/act-db/"},
		{"nobody without the code", func(h *hall) error {
			h.n++
			return h.pushes("bot", h.enrols(newGuest(h.t, h.n, "act-web", seed("code", 7), h.clock)))
		}, "the code is not that of the activation"},
		{"nobody of another fleet", func(h *hall) error {
			return h.pushes("bot", h.enrols(h.guest(func(p *Proof) { p.Fleet = "other" })))
		}, `for the fleet "other"`},
		{"no line changed", func(h *hall) error {
			g := h.guest()
			if err := h.pushes("bot", h.enrols(g)); err != nil {
				return err
			}
			return h.pushes("bot", map[string]string{RosterFile(g.ID): string(g.Line(g.Name, map[string]string{"role": "web"}, h.clock)) + "\n"})
		}, "a line is changed or gone"},
		{"no line removed", func(h *hall) error {
			g := h.guest()
			if err := h.pushes("bot", h.enrols(g)); err != nil {
				return err
			}
			return h.pushes("bot", map[string]string{RosterFile(g.ID): ""})
		}, "it is gone"},
		{"no proof removed, to make room", func(h *hall) error {
			g := h.guest()
			if err := h.pushes("bot", h.enrols(g)); err != nil {
				return err
			}
			return h.pushes("bot", map[string]string{JoinFile("act-web", g.ID): ""})
		}, "it is gone"},
		{"no node a second time", func(h *hall) error {
			g := h.guest()
			if err := h.pushes("bot", h.enrols(g)); err != nil {
				return err
			}
			if err := h.pushes("alice", map[string]string{RosterFile(g.ID): ""}); err != nil {
				return err
			}
			files := map[string]string{}
			h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "web"}, h.clock))
			return h.pushes("bot", files)
		}, "has no proof"},
		{"no node a second time with another proof, after its proof was moved", func(h *hall) error {
			g := h.guest()
			if err := h.pushes("bot", h.enrols(g)); err != nil {
				return err
			}
			line := string(Join{Proof: g.Proof}.Encode()) + "\n"
			if err := h.pushes("alice", map[string]string{RosterFile(g.ID): "", JoinFile("act-web", g.ID): "", JoinFile("act-old", g.ID): line}); err != nil {
				return err
			}
			return h.pushes("bot", h.enrols(g))
		}, "has enrolled already"},
		{"no name that is taken", func(h *hall) error {
			if err := h.pushes("bot", h.enrols(h.guest())); err != nil {
				return err
			}
			return h.pushes("bot", h.enrols(h.guest(func(p *Proof) { p.Name = fmt.Sprint("web-", h.n-1) })))
		}, `is that of node`},
		{"no TLS key that is taken", func(h *hall) error {
			return h.pushes("bot", h.enrols(h.guest(), h.guest(func(p *Proof) { p.Keys.TLS = fmt.Sprintf("%064x", h.n-1) })))
		}, "keys.tls is that of node"},
		{"no name that is an id", func(h *hall) error {
			g := h.guest(func(p *Proof) { p.Name = p.ID })
			return h.pushes("bot", h.enrols(g))
		}, "form of a node's id"},
		{"not after it was revoked", func(h *hall) error {
			if err := h.pushes("alice", map[string]string{"activations/all.cue": h.activations(nil)}); err != nil {
				return err
			}
			return h.pushes("bot", h.enrols(h.guest()))
		}, "it was revoked"},
		{"not with an activation that the same commit makes", func(h *hall) error {
			if err := h.pushes("alice", map[string]string{"activations/all.cue": h.activations(nil)}); err != nil {
				return err
			}
			act := schema.Activation{PublicKey: sshLine(h.code.Public().(ed25519.PublicKey)), Expires: h.clock.Add(time.Hour), Limit: 9, Tags: map[string]string{"role": "web"}}
			files := h.enrols(h.guest())
			files["activations/all.cue"] = h.activations(map[string]schema.Activation{"act-web": act})
			return h.pushes("bot", files)
		}, "it was revoked"},
		{"no policy along with a node", func(h *hall) error {
			files := h.enrols(h.guest())
			files["policies/x.cue"] = "package fleet\n"
			return h.pushes("bot", files)
		}, `"policies/x.cue" needs 1 of the role policy`},
		{"no grant along with a node", func(h *hall) error {
			files := h.enrols(h.guest())
			files["grants/x.cue"] = "package fleet\n"
			return h.pushes("bot", files)
		}, `"grants/x.cue" needs 1 of the role root`},
		{"no other file below nodes", func(h *hall) error {
			files := h.enrols(h.guest())
			files["nodes/x.cue"] = "package fleet\n"
			return h.pushes("bot", files)
		}, "is no file of nodes"},
		{"no gossip key along with a node", func(h *hall) error {
			files := h.enrols(h.guest())
			files["nodes/gossip/keys.json"] = "{}\n"
			return h.pushes("bot", files)
		}, "is no file of nodes"},
		{"no commit that changes nothing", func(h *hall) error { return h.pushes("bot", nil) }, "needs 1 of the role policy"},
		{"nobody but who has the role", func(h *hall) error { return h.pushes("eve", h.enrols(h.guest())) }, "needs 1 of the role root"},
		{"a line that is executable", func(h *hall) error {
			files := h.enrols(h.guest())
			h.clock = h.clock.Add(time.Minute)
			h.write(files)
			for path := range files {
				h.git("update-index", "--chmod=+x", path)
			}
			h.git("commit", "-q", "-m", "x", "-S"+filepath.Join(h.keys, "bot"))
			_, err := h.verify(h.trusted, h.head())
			h.git("reset", "-q", "--hard", h.trusted)
			return err
		}, "no plain file"},
		{"a witness that is no member", func(h *hall) error {
			g := h.guest()
			j := See(g.Proof, netip.MustParseAddr("10.1.2.3"), h.clock, member)
			files := map[string]string{}
			h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "web"}, h.clock))
			h.add(files, JoinFile("act-web", g.ID), j.Encode())
			return h.pushes("bot", files)
		}, "is not an active node"},
		{"not after the activation expired", func(h *hall) error {
			g := h.guest()
			h.clock = h.clock.Add(24 * time.Hour)
			return h.pushes("bot", h.enrols(g))
		}, "expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := shared.pushes("alice", map[string]string{"activations/all.cue": shared.open}); err != nil {
				t.Fatal(err)
			}
			saysNo(t, tt.do(shared), tt.want)
		})
	}
}

func TestNetworksAreWhatAMemberHasSeen(t *testing.T) {
	h := newHall(t, func(a *schema.Activation) { a.Networks = []string{"10.0.0.0/8", "2001:db8::/32"} })
	member := newGuest(t, 1000, "act-web", h.code, h.clock)
	if err := h.pushes("alice", map[string]string{RosterFile(member.ID): string(member.Line("m", nil, h.clock)) + "\n"}); err != nil {
		t.Fatal(err)
	}
	with := func(from string, key ed25519.PrivateKey) error {
		g := h.guest()
		files := map[string]string{}
		h.add(files, RosterFile(g.ID), g.Line(g.Name, map[string]string{"role": "web"}, h.clock))
		h.add(files, JoinFile("act-web", g.ID), See(g.Proof, netip.MustParseAddr(from), h.clock, key).Encode())
		return h.pushes("bot", files)
	}
	saysNo(t, h.pushes("bot", h.enrols(h.guest())), "no member has said where")
	saysNo(t, with("192.0.2.1", member.key), "came from 192.0.2.1")
	saysNo(t, with("10.1.2.3", seed("host", 2000)), "not an active node")
	for _, from := range []string{"10.1.2.3", "::ffff:10.9.9.9", "2001:db8::5"} {
		if err := with(from, member.key); err != nil {
			t.Errorf("%s: %v", from, err)
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

func TestInsert(t *testing.T) {
	var text []byte
	var ids []string
	for n := range 40 {
		g := newGuest(t, n, "act-web", seed("code", 0), time.Unix(0, 0))
		ids = append(ids, g.ID)
		var err error
		if text, err = Insert(text, Join{Proof: g.Proof}.Encode()); err != nil {
			t.Fatal(err)
		}
		if _, err := Insert(text, Join{Proof: g.Proof}.Encode()); err == nil {
			t.Fatal("a node has two lines")
		}
	}
	slices.Sort(ids)
	i := 0
	for line := range bytes.Lines(text) {
		if id, _ := idOf(line); id != ids[i] {
			t.Fatalf("line %d is of %s, want %s", i, id, ids[i])
		}
		i++
	}
	if i != 40 {
		t.Errorf("%d lines", i)
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
