package trust

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

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
