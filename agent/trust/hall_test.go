package trust

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
