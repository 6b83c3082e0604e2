package peer

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"testing"
)

// Who has this node's key and is another program is told of on both sides; this node itself is not, and a node with another
// key is not even asked.
func TestTwoWithOneKeyMeet(t *testing.T) {
	r := &roster{pins: map[string]string{}}
	met := make(chan string, 8)
	at := func(start string) func(*Config) {
		return func(c *Config) { c.Start, c.Twin = start, func() { met <- start } }
	}
	a := loopback(t, r, "a", at("first"))
	copied := func(c *Config) { c.Self, c.Cert = "a", a.cert }
	b := loopback(t, r, "a", copied, at("second"))
	other := loopback(t, r, "other", at("third"))
	r.set("a", pinOf(a.cert.Leaf))
	r.set("other", pinOf(other.cert.Leaf))

	if twin, err := a.Meet(t.Context(), b.addr()); err != nil || !twin {
		t.Errorf("Meet of a copy = %v, %v", twin, err)
	}
	if got := <-met; got != "second" {
		t.Errorf("%s was told, and not the one that was asked", got)
	}
	if twin, err := a.Meet(t.Context(), a.addr()); err != nil || twin {
		t.Errorf("Meet of itself = %v, %v", twin, err)
	}
	if twin, err := a.Meet(t.Context(), other.addr()); !errors.Is(err, ErrUnknown) || twin {
		t.Errorf("Meet of another node = %v, %v", twin, err)
	}
	// Nothing else is given to who has the key, least of all a stream.
	for _, path := range []string{streamPath, "/v1/pack", JoinPath, twinPath} {
		status := 0
		_, got, _, err := once(t.Context(), b.addr(), a.cert, map[string]string{"a": pinOf(a.cert.Leaf)}, nil, func([]byte) (string, string, []byte, error) {
			return http.MethodPost, path, nil, nil
		}, 100)
		if status = got; err != nil && !errors.Is(err, io.EOF) || status != http.StatusForbidden {
			t.Errorf("POST %s: %d, %v", path, status, err)
		}
	}
	if len(met) > 0 {
		t.Errorf("%s was told of itself, or of nothing", <-met)
	}
}

// Packets may go for a while to where a pinned connection came from. A stranger opens none, nor who says that it is a node with
// another key.
func TestPinnedIsToldOfNodesAlone(t *testing.T) {
	r := &roster{pins: map[string]string{}}
	pinned := make(chan string, 8)
	a := loopback(t, r, "a", func(c *Config) { c.Pinned = func(id string, from netip.Addr) { pinned <- id + " " + from.String() } })
	b := loopback(t, r, "b")
	wrong := loopback(t, r, "b") // says that it is b, and has another key
	stranger := loopback(t, r, "stranger")
	r.set("a", pinOf(a.cert.Leaf))
	r.set("b", pinOf(b.cert.Leaf))
	for _, n := range []*node{wrong, stranger, b} {
		_, _, err := Get(t.Context(), a.addr(), n.cert, r.get(), nil, "/nothing", 100)
		if err == nil {
			t.Errorf("%s got something", n.id)
		}
	}
	if got := <-pinned; got != "b 127.0.0.1" {
		t.Errorf("Pinned is told of %q", got)
	}
	if len(pinned) > 0 {
		t.Errorf("Pinned is told of %q too", <-pinned)
	}
}
