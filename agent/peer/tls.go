package peer

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

var (
	errEnd = errors.New("this node ends")
	// ErrUnknown is wrapped where a node is not in the roster or not among the members.
	ErrUnknown = errors.New("not an active node of the roster")
	// ErrPin is wrapped where a peer has another key than the roster pins.
	ErrPin = errors.New("its TLS key is not the one that the roster pins")
)

func pinOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// identify tells whose certificate it is. The name in it is only what its holder says; the key is what counts.
func (p *Peers) identify(state tls.ConnectionState) (id, pin string, err error) {
	if len(state.PeerCertificates) == 0 {
		return "", "", errors.New("peer shows no certificate")
	}
	cert := state.PeerCertificates[0]
	pin, pins := pinOf(cert), p.config.Pins()
	name := cert.Subject.CommonName
	id = name
	if want, ok := pins[name]; ok && !strings.EqualFold(want, pin) {
		return "", "", fmt.Errorf("peer %q: %w (%s)", clip(name), ErrPin, pin)
	} else if !ok {
		id = ""
		for other, want := range pins {
			if strings.EqualFold(want, pin) {
				id = other
			}
		}
	}
	switch id {
	case "":
		return "", "", fmt.Errorf("peer %q: %w (TLS key %s)", clip(name), ErrUnknown, pin)
	case p.config.Self:
		return "", "", fmt.Errorf("peer %q: %w", clip(name), errSelf)
	}
	return id, pin, nil
}

func (p *Peers) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{p.config.Cert},
		SessionTicketsDisabled: true, // a resumed session would outlive the roster's line
	}
}

// conn counts bytes and knows whose it is.
type conn struct {
	net.Conn
	p    *Peers
	once sync.Once
	host string // counted in Peers.unknown while it is not empty; guarded by Peers.mu
	nth  uint64 // of all connections

	mu      sync.Mutex
	id, pin string      // after the handshake
	strange *time.Timer // ends it, where it is of a host that the roster does not have
	spoke   bool        // such a host has said what it may say
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.p.in.Add(uint64(n))
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.p.out.Add(uint64(n))
	return n, err
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.p.mu.Lock()
		delete(c.p.conns, c)
		c.known()
		c.p.mu.Unlock()
		c.mu.Lock()
		if c.strange != nil {
			c.strange.Stop()
		}
		c.mu.Unlock()
	})
	return c.Conn.Close()
}

func (c *conn) is(id, pin string) {
	c.p.mu.Lock()
	c.known()
	c.p.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id, c.pin = id, pin
}

// crowded closes the oldest connection of a node that has too many: what a host that moved has left behind, or all that
// a hostile one can hold.
func (p *Peers) crowded(id string) {
	p.mu.Lock()
	var oldest *conn
	n := 0
	for c := range p.conns {
		if its, _ := c.who(); its != id {
			continue
		}
		if n++; oldest == nil || c.nth < oldest.nth {
			oldest = c
		}
	}
	p.mu.Unlock()
	if n > maxFromNode {
		_ = oldest.Close()
	}
}

// known ends that the connection counts as a stranger's. The caller holds Peers.mu.
func (c *conn) known() {
	if c.host == "" {
		return
	}
	if c.p.unknown[c.host]--; c.p.unknown[c.host] <= 0 {
		delete(c.p.unknown, c.host)
	}
	c.host = ""
}

func (c *conn) who() (id, pin string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id, c.pin
}

// track takes a connection into account; nil where there is no room for it, or nothing runs any more. Of those that
// somebody else has opened only so many may not have shown yet who they are, so that a stranger takes no room of nodes.
func (p *Peers) track(raw net.Conn, opened bool) *conn {
	c := &conn{Conn: raw, p: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nth++
	c.nth = p.nth
	if p.closed || len(p.conns) >= maxConns {
		return nil
	}
	if opened {
		host := hostOf(raw.RemoteAddr())
		all := 0
		for _, n := range p.unknown {
			all += n
		}
		if all >= maxStrangers || p.unknown[host] >= maxFromOne {
			return nil
		}
		c.host = host
		p.unknown[host]++
	}
	p.conns[c] = struct{}{}
	return c
}

// hostOf is an address without its port.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil || host == "" {
		return a.String()
	}
	return host
}

// expel closes the connections of nodes that have left the roster, or have another key by now.
func (p *Peers) expel() {
	pins := p.config.Pins()
	p.mu.Lock()
	maps.DeleteFunc(p.accounts, func(id string, _ *account) bool { _, listed := pins[id]; return !listed })
	var gone []*conn
	for c := range p.conns {
		if id, pin := c.who(); id != "" && !strings.EqualFold(pins[id], pin) {
			gone = append(gone, c)
		}
	}
	p.mu.Unlock()
	for _, c := range gone {
		id, _ := c.who()
		p.log.printf("peer %q has left the roster, or has another key there: its connection is closed", clip(id))
		_ = c.Close()
	}
}

// listener hands out connections that are counted.
type listener struct {
	net.Listener
	p *Peers
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.p.track(raw, true); c != nil {
			return c, nil
		}
		l.p.log.printf("connection from %s closed: too many are open", hostOf(raw.RemoteAddr()))
		_ = raw.Close()
	}
}

type callerKey struct{}

// Caller is the id of the node that asks; empty outside of Config.Handler.
func Caller(ctx context.Context) string {
	id, _ := ctx.Value(callerKey{}).(string)
	return id
}

func (p *Peers) newServer() *http.Server {
	config := p.tlsConfig()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		own := p.tlsConfig()
		own.ClientAuth = tls.RequireAnyClientCert
		own.VerifyConnection = func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol != "h2" { // crypto/tls lets a client go on that knows HTTP/1 only
				return errors.New("peer does not speak HTTP/2")
			}
			id, pin, err := p.identify(state)
			if c, ok := hello.Conn.(*conn); ok && p.lets(err) {
				p.greet(c)
				return nil
			}
			if err != nil {
				return err
			}
			if err := p.account(id).open(time.Now()); err != nil {
				return fmt.Errorf("peer %q: %w", clip(id), err)
			}
			if c, ok := hello.Conn.(*conn); ok {
				c.is(id, pin)
				p.crowded(id)
				if from, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil && p.config.Pinned != nil {
					p.config.Pinned(id, from.Addr())
				}
			}
			return nil
		}
		return own, nil
	}
	return &http.Server{
		Handler: http.HandlerFunc(p.handle), TLSConfig: config, Protocols: onlyHTTP2(),
		ReadHeaderTimeout: dialWithin, // bounds the handshake, too
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 32, WriteByteTimeout: writeWithin},
		ErrorLog:          log.New(p.log, "", 0),
		ConnContext:       withConn,
	}
}

func onlyHTTP2() *http.Protocols {
	only := new(http.Protocols)
	only.SetHTTP2(true)
	return only
}

func (p *Peers) handle(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		http.Error(w, "TLS only", http.StatusForbidden)
		return
	}
	id, _, err := p.identify(*r.TLS) // again: the roster may have changed since the handshake
	if errors.Is(err, errSelf) && p.lets(err) {
		p.twin(w, r)
		return
	}
	if p.lets(err) {
		p.stranger(w, r)
		return
	}
	if err != nil {
		p.log.printf("request of %s refused: %v", r.RemoteAddr, err)
		http.Error(w, "not an active node of the roster", http.StatusForbidden)
		return
	}
	switch {
	case r.URL.Path == streamPath:
		p.accept(w, r, id)
	case p.config.Handler == nil:
		http.NotFound(w, r)
	default:
		p.call(w, r, id)
	}
}

// newTransport makes the client's side. The host of a URL is the id of a node.
func (p *Peers) newTransport() *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, hostPort string) (net.Conn, error) {
			id, _, err := net.SplitHostPort(hostPort)
			if err != nil {
				return nil, err
			}
			return p.dial(ctx, id)
		},
		Protocols: onlyHTTP2(), DisableCompression: true, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 16 << 10,
		HTTP2:                  &http.HTTP2Config{WriteByteTimeout: writeWithin},
	}
}

// dial connects with a node and makes sure that it is that one.
func (p *Peers) dial(ctx context.Context, id string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	p.mu.Lock()
	addr, ok := p.members[id]
	p.mu.Unlock()
	want, active := p.config.Pins()[id]
	if !ok || !active || id == p.config.Self {
		return nil, fmt.Errorf("dial %q: %w, or nobody knows its address", clip(id), ErrUnknown)
	}
	raw, err := p.config.Dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", clip(id), err)
	}
	c := p.track(raw, false)
	if c == nil {
		_ = raw.Close()
		return nil, fmt.Errorf("dial %q: %d connections are open, or this node ends", clip(id), maxConns)
	}
	config := p.tlsConfig()
	config.InsecureSkipVerify = true // no authority is asked: VerifyConnection compares the key with the roster's
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("peer shows no certificate")
		}
		if pin := pinOf(state.PeerCertificates[0]); !strings.EqualFold(pin, want) {
			return fmt.Errorf("peer %q at %q: %w (%s)", clip(id), clip(addr), ErrPin, pin)
		}
		return nil
	}
	t := tls.Client(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dial %q: %w", clip(id), err)
	}
	if t.ConnectionState().NegotiatedProtocol != "h2" {
		_ = t.Close()
		return nil, fmt.Errorf("dial %q: it does not speak HTTP/2", clip(id))
	}
	c.is(id, want)
	return t, nil
}

// Probe opens a connection to a node, sees that it is that one, and closes it.
func (p *Peers) Probe(ctx context.Context, id string) error {
	c, err := p.dial(ctx, id)
	if err != nil {
		return err
	}
	return c.Close()
}

// Client is for direct calls: URLs begin with base. It follows no redirects and has no deadline but that of the
// request's context. The error wraps ErrUnknown.
func (p *Peers) Client(id string) (*http.Client, string, error) {
	p.mu.Lock()
	_, ok := p.members[id]
	p.mu.Unlock()
	if _, active := p.config.Pins()[id]; !ok || !active {
		return nil, "", fmt.Errorf("call %q: %w, or nobody knows its address", clip(id), ErrUnknown)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: p.transport, CheckRedirect: stay}, "https://" + id, nil
}
