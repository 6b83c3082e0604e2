package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
)

// strangerSide starts a node a that hears strangers, and one that its roster does not have.
func strangerSide(t *testing.T) (a, b *node, r *roster, heard chan Stranger) {
	t.Helper()
	r = &roster{pins: map[string]string{}}
	heard = make(chan Stranger, 64)
	a = loopback(t, r, "a", func(c *Config) {
		c.Stranger = func(_ context.Context, s Stranger) (int, string) {
			heard <- s
			return http.StatusAccepted, "wait"
		}
	})
	b = loopback(t, r, "b")
	r.set("a", pinOf(a.cert.Leaf))
	return a, b, r, heard
}

func TestAStrangerMaySayOneThing(t *testing.T) {
	a, b, r, heard := strangerSide(t)
	var own []byte
	who, status, answer, err := Ask(t.Context(), a.addr(), b.cert, r.get(), nil, func(exporter []byte) ([]byte, error) {
		own = exporter
		return []byte("let me in"), nil
	})
	if err != nil || who != "a" || status != http.StatusAccepted || answer != "wait" {
		t.Fatalf("Ask = %q, %d, %q, %v", who, status, answer, err)
	}
	s := <-heard
	if string(s.Message) != "let me in" || s.Pin != pinOf(b.cert.Leaf) || !bytes.Equal(s.Exporter, own) || len(own) != exporterSize {
		t.Errorf("heard %+v, with the exporter %x", s, own)
	}
	// Another connection exports something else, so that what was signed for one is worth nothing on another.
	_, _, _, err = Ask(t.Context(), a.addr(), b.cert, r.get(), nil, func(exporter []byte) ([]byte, error) {
		if bytes.Equal(exporter, own) {
			t.Error("two connections export the same")
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
	// Who asks believes only a key of the roster.
	if _, _, _, err := Ask(t.Context(), a.addr(), b.cert, map[string]string{"a": strings.Repeat("0", 64)}, nil, nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("asking a node with another key gives %v", err)
	}
}

func TestAStrangerMaySayNothingElse(t *testing.T) {
	a, b, _, heard := strangerSide(t)
	for _, tt := range []struct {
		name, method, path string
		body               string
		want               int
	}{
		{"a stream", http.MethodPost, streamPath, "", http.StatusForbidden},
		{"a call", http.MethodGet, "/v1/pack", "", http.StatusForbidden},
		{"the same path with another method", http.MethodGet, JoinPath, "", http.StatusForbidden},
		{"more than may be said", http.MethodPost, JoinPath, strings.Repeat("x", MaxJoin+1), http.StatusRequestEntityTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := strangerClient(t, a, b)
			defer c.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "https://a"+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("%s %s = %d, want %d", tt.method, tt.path, resp.StatusCode, tt.want)
			}
		})
	}
	c := strangerClient(t, a, b)
	defer c.CloseIdleConnections()
	said := 0
	for range 3 { // the connection is closed after the first, or the second is refused on it
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://a"+JoinPath, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.RoundTrip(req); err == nil {
			if resp.StatusCode == http.StatusAccepted {
				said++
			}
			_ = resp.Body.Close()
		}
	}
	if said != 1 || len(heard) != 1 {
		t.Errorf("on one connection %d requests were answered and %d heard, want 1", said, len(heard))
	}
}

// strangerClient is a client of b's key with one connection to a.
func strangerClient(t *testing.T, a, b *node) *http.Transport {
	used := false
	return &http.Transport{Protocols: onlyHTTP2(), DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if used {
			return nil, errors.New("only one connection")
		}
		used = true
		d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, InsecureSkipVerify: true, Certificates: []tls.Certificate{b.cert}}}
		return d.DialContext(ctx, "tcp", a.addr())
	}}
}
