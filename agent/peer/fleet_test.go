package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// shelf is a store of records whose body says whether it takes them.
type shelf struct {
	mu      sync.Mutex
	records map[string]schema.Record
	strict  bool // refuses the bodies "bad" and "odd"
}

func digestOf(r schema.Record) string {
	sum := sha256.Sum256(r.Message())
	return hex.EncodeToString(sum[:16])
}

func (s *shelf) add(rs ...schema.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rs {
		s.records[digestOf(r)] = r
	}
}

func (s *shelf) Put(r schema.Record) (bool, error) {
	if s.strict && string(r.Body) == "bad" {
		return false, fmt.Errorf("record of %q: %w", r.Node, schema.ErrBadSignature)
	}
	if s.strict && string(r.Body) == "odd" {
		return false, errors.New("nobody knows its node")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, have := s.records[digestOf(r)]
	s.records[digestOf(r)] = r
	return !have, nil
}

func (s *shelf) Missing(ds []string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		if _, ok := s.records[d]; !ok {
			out = append(out, d)
		}
	}
	return out
}

func (s *shelf) Get(ds []string) (out []schema.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		if r, ok := s.records[d]; ok {
			out = append(out, r)
		}
	}
	return out
}

func (s *shelf) Digests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.records))
}

func (s *shelf) Bucket(i int) (out []string) {
	for _, d := range s.Digests() {
		if n, _ := strconv.ParseUint(d[:2], 16, 8); int(n) == i {
			out = append(out, d)
		}
	}
	return out
}

func (s *shelf) Buckets() (hashes [256][32]byte) {
	all := [256]string{}
	for _, d := range s.Digests() {
		n, _ := strconv.ParseUint(d[:2], 16, 8)
		all[n] += d
	}
	for i, text := range all {
		if text != "" {
			hashes[i] = sha256.Sum256([]byte(text))
		}
	}
	return hashes
}

// cable is a network in memory.
type cable struct {
	mu    sync.Mutex
	ports map[string]*socket
	cut   map[string]bool // addresses that nobody reaches, and that reach nobody
	lines map[net.Conn][2]string
}

type socket struct {
	addr string
	in   chan net.Conn
	once sync.Once
	done chan struct{}
}

func newCable() *cable {
	return &cable{ports: map[string]*socket{}, cut: map[string]bool{}, lines: map[net.Conn][2]string{}}
}

func (n *cable) listen(addr string) net.Listener {
	s := &socket{addr: addr, in: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[addr] = s
	return s
}

func (n *cable) dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		n.mu.Lock()
		s, off := n.ports[to], n.cut[from] || n.cut[to]
		n.mu.Unlock()
		if s == nil || off {
			return nil, fmt.Errorf("dial %s: unreachable", to)
		}
		a, b := net.Pipe()
		n.mu.Lock()
		n.lines[a], n.lines[b] = [2]string{from, to}, [2]string{from, to}
		n.mu.Unlock()
		select {
		case s.in <- b:
			return a, nil
		case <-s.done:
		case <-ctx.Done():
		}
		_ = a.Close()
		return nil, fmt.Errorf("dial %s: refused", to)
	}
}

// isolate closes every connection of addr and lets no new one through.
func (n *cable) isolate(addr string, off bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[addr] = off
	for c, ends := range n.lines {
		if off && (ends[0] == addr || ends[1] == addr) {
			_ = c.Close()
			delete(n.lines, c)
		}
	}
}

func (s *socket) Accept() (net.Conn, error) {
	select {
	case c := <-s.in:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}
func (s *socket) Close() error   { s.once.Do(func() { close(s.done) }); return nil }
func (s *socket) Addr() net.Addr { return name(s.addr) }

type name string

func (n name) Network() string { return "memory" }
func (n name) String() string  { return string(n) }

// journal keeps log lines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) has(parts ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func certFor(t testing.TB, id string) tls.Certificate {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: id}, NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// roster is the pins that all nodes of a test share.
type roster struct {
	mu   sync.Mutex
	pins map[string]string
}

func (r *roster) get() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.pins)
}

func (r *roster) set(id, pin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pin == "" {
		delete(r.pins, id)
		return
	}
	r.pins[id] = pin
}

type node struct {
	*Peers
	id    string
	store *shelf
	log   *journal
	cert  tls.Certificate
	stop  func()
}

type fleet struct {
	t      testing.TB
	net    *cable
	roster *roster
	nodes  []*node
}

// newFleet starts n nodes that know each other. Inside a synctest bubble, stop it before the bubble ends.
func newFleet(t testing.TB, n int, change func(i int, c *Config)) *fleet {
	t.Helper()
	f := &fleet{t: t, net: newCable(), roster: &roster{pins: map[string]string{}}}
	for i := range n {
		id := fmt.Sprintf("n%02d", i)
		d := &node{id: id, store: &shelf{records: map[string]schema.Record{}, strict: true}, log: &journal{}, cert: certFor(t, id)}
		f.roster.set(id, pinOf(d.cert.Leaf))
		c := Config{Self: id, Cert: d.cert, Pins: f.roster.get, Listener: f.net.listen(id), Dial: f.net.dialer(id), Store: d.store, Log: d.log.add}
		if change != nil {
			change(i, &c)
		}
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		d.Peers = p
		f.nodes = append(f.nodes, d)
	}
	f.members()
	for _, d := range f.nodes {
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- d.Serve(ctx) }()
		d.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-served; err != nil {
				t.Errorf("%s: Serve: %v", d.id, err)
			}
		})
	}
	return f
}

func (f *fleet) members() {
	var ms []Member
	for _, d := range f.nodes {
		ms = append(ms, Member{d.id, d.id})
	}
	for _, d := range f.nodes {
		d.SetMembers(ms)
	}
}

func (f *fleet) stop() {
	for _, d := range f.nodes {
		d.stop()
	}
}

func pass(d time.Duration) { <-time.After(d) }

func record(node string, seq int, body string) schema.Record {
	return schema.Record{Node: node, Kind: "state", Key: "k", Boot: 1, Seq: uint64(seq), Body: []byte(body), Sig: make([]byte, 64)}
}

// publish puts a record into a node's store and offers it.
func (d *node) publish(seq int, body string) schema.Record {
	r := record(d.id, seq, body)
	d.store.add(r)
	d.Offer()
	return r
}

// same fails where the nodes do not hold the same n records.
func (f *fleet) same(n int) {
	f.t.Helper()
	for _, d := range f.nodes {
		if got := d.store.Digests(); len(got) != n || !slices.Equal(got, f.nodes[0].store.Digests()) {
			f.t.Errorf("%s holds %d records, want the same %d as all; its log:\n%s", d.id, len(got), n, d.log)
		}
	}
}

// opened posts to a node's stream and gives what to write to and what to read from.
func opened(t testing.TB, from *node, to string) (io.WriteCloser, io.ReadCloser, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	client, base, err := from.Client(to)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	req := must(newPost(ctx, base+streamPath, r))(t)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return w, resp.Body, cancel
}
