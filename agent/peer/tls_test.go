package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// loopback starts a node on a real port.
func loopback(t *testing.T, r *roster, id string, change ...func(*Config)) *node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &node{id: id, store: &shelf{records: map[string]schema.Record{}, strict: true}, log: &journal{}, cert: certFor(t, id)}
	c := Config{Self: id, Cert: d.cert, Pins: r.get, Listener: l, Store: d.store, Log: d.log.add}
	for _, f := range change {
		f(&c)
	}
	d.Peers, err = New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("%s: Serve: %v", id, err)
		}
	})
	return d
}

func (d *node) addr() string { return d.config.Listener.Addr().String() }

// until waits for what must come to pass; the test's own time limit is the deadline.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.After(30 * time.Second); !ok(); {
		select {
		case <-end:
			t.Fatalf("%s has not happened", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestStreamsOverRealConnections(t *testing.T) {
	r := &roster{pins: map[string]string{}}
	a, b := loopback(t, r, "a"), loopback(t, r, "b")
	r.set("a", pinOf(a.cert.Leaf))
	r.set("b", pinOf(b.cert.Leaf))
	a.publish(1, "{}")
	a.SetMembers([]Member{{"b", b.addr()}})
	until(t, "the record", func() bool { return len(b.store.Digests()) == 1 })
	b.publish(2, "{}")
	until(t, "the way back", func() bool { return len(a.store.Digests()) == 2 })
}

func TestStrangersAreRefusedInTheHandshake(t *testing.T) {
	tests := []struct {
		name   string
		pins   func(r *roster, a, b *node)
		reason string // in a's log, about b
	}{
		{"not in the roster", func(r *roster, a, b *node) { r.set("a", pinOf(a.cert.Leaf)) }, "not an active node of the roster"},
		{"another key than the roster's", func(r *roster, a, b *node) {
			r.set("a", pinOf(a.cert.Leaf))
			r.set("b", strings.Repeat("0", 64))
		}, "not the one that the roster pins"},
		{"this node's own key", func(r *roster, a, b *node) {
			r.set("a", pinOf(b.cert.Leaf))
		}, "this node's own key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &roster{pins: map[string]string{}}
			a, b := loopback(t, r, "a"), loopback(t, r, "b")
			tt.pins(r, a, b)
			c := tls.Client(must(net.Dial("tcp", a.addr()))(t), &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, InsecureSkipVerify: true, Certificates: []tls.Certificate{b.cert}})
			defer func() { _ = c.Close() }()
			if err := c.Handshake(); err == nil {
				_, err = c.Read(make([]byte, 1)) // TLS 1.3: the server's no comes after the client's part
				if err == nil || errors.Is(err, io.EOF) {
					t.Errorf("a read gives %v, want an alert", err)
				}
			}
			until(t, "a's word about it", func() bool { return a.log.has("TLS handshake error", tt.reason) })
		})
	}
}

func TestADialledNodeMustHaveItsKey(t *testing.T) {
	r := &roster{pins: map[string]string{}}
	a, b := loopback(t, r, "a"), loopback(t, r, "b")
	r.set("a", pinOf(a.cert.Leaf))
	r.set("b", strings.Repeat("0", 64))
	a.SetMembers([]Member{{"b", b.addr()}})
	if _, err := a.dial(context.Background(), "b"); !errors.Is(err, ErrPin) {
		t.Errorf("dialling one with a wrong key gives %v", err)
	}
	r.set("b", "")
	if _, err := a.dial(context.Background(), "b"); !errors.Is(err, ErrUnknown) {
		t.Errorf("dialling one that is not in the roster gives %v", err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	r := &roster{pins: map[string]string{}}
	a, b := loopback(t, r, "a"), loopback(t, r, "b")
	r.set("a", pinOf(a.cert.Leaf))
	r.set("b", pinOf(b.cert.Leaf))
	for name, config := range map[string]*tls.Config{
		"TLS 1.2": {MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, InsecureSkipVerify: true, Certificates: []tls.Certificate{b.cert}},
		"HTTP/1":  {NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true, Certificates: []tls.Certificate{b.cert}},
	} {
		c := tls.Client(must(net.Dial("tcp", a.addr()))(t), config)
		if err := c.Handshake(); err == nil {
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s: a read gives %v, want an alert", name, err)
			}
		}
		_ = c.Close()
	}
	until(t, "a's word about it", func() bool { return a.log.has("TLS handshake error", "does not speak HTTP/2") })
	until(t, "a's word about it", func() bool { return a.log.has("TLS handshake error", "unsupported versions") })
	// Without a certificate nobody gets in.
	c := tls.Client(must(net.Dial("tcp", a.addr()))(t), &tls.Config{NextProtos: []string{"h2"}, InsecureSkipVerify: true})
	defer func() { _ = c.Close() }()
	if err := c.Handshake(); err == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("without a certificate a read gives %v", err)
		}
	}
	until(t, "a's word about it", func() bool { return a.log.has("TLS handshake error", "certificate") })
}

func TestFloodsOfLinesAreThinned(t *testing.T) {
	var lines []string
	l := &thinned{to: func(s string) { lines = append(lines, s) }}
	for range 1000 {
		l.printf("x")
	}
	if len(lines) > burst+2 || len(lines) < burst {
		t.Errorf("%d lines of 1000", len(lines))
	}
	if _, err := l.Write([]byte("http: a\nb\x1b")); err != nil {
		t.Error(err)
	}
}
