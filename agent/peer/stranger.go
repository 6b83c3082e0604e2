package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// A host that the roster does not have may say one thing, that it asks to be let in: one POST of at most MaxJoin bytes, on
// a connection that is closed afterwards.
const (
	// JoinPath is what it asks for.
	JoinPath = "/v1/join"
	// MaxJoin bounds what it says, and what it is answered, in bytes.
	MaxJoin = 4 << 10
	// strangerWithin is how long its connection lasts.
	strangerWithin = 15 * time.Second
	// exporterLabel names what both sides of one connection derive, and no others can (RFC 8446 7.5).
	exporterLabel = "EXPORTER-dunlin-join-v1"
	exporterSize  = 32
)

// Stranger is a host that the roster does not have, on one connection.
type Stranger struct {
	Pin      string // hex SHA-256 of the SubjectPublicKeyInfo of the key that it has shown it holds
	Addr     string // host:port of its side, as this node sees it
	Exporter []byte // of this connection alone: what is signed with it is worth nothing on another
	Message  []byte // at most MaxJoin bytes
}

// Exporter is what both sides of a connection derive, and nobody else can, nor the same two on another connection.
func Exporter(state tls.ConnectionState) ([]byte, error) {
	return state.ExportKeyingMaterial(exporterLabel, nil, exporterSize)
}

// lets reports whether a caller that is no peer may say the one thing that it may say: that it asks to be let in, or where it
// has this node's own key, that it is there.
func (p *Peers) lets(err error) bool {
	return p.config.Stranger != nil && errors.Is(err, ErrUnknown) || p.config.Start != "" && errors.Is(err, errSelf)
}

// greet bounds how long a stranger stays. It goes on to count as one.
func (p *Peers) greet(c *conn) {
	t := time.AfterFunc(strangerWithin, func() { _ = c.Close() })
	c.mu.Lock()
	c.strange = t
	c.mu.Unlock()
}

type connKey struct{}

// withConn lets a request tell which connection it came by.
func withConn(ctx context.Context, c net.Conn) context.Context {
	t, ok := c.(*tls.Conn)
	if !ok {
		return ctx
	}
	own, _ := t.NetConn().(*conn)
	return context.WithValue(ctx, connKey{}, own)
}

// stranger answers the one request that a host may make which is not in the roster.
func (p *Peers) stranger(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close") // HTTP/2 says GOAWAY for it
	c, _ := r.Context().Value(connKey{}).(*conn)
	if c == nil || r.URL.Path != JoinPath || r.Method != http.MethodPost {
		http.Error(w, "not an active node of the roster", http.StatusForbidden)
		return
	}
	c.mu.Lock()
	again, strange := c.spoke, c.strange != nil
	c.spoke = true
	c.mu.Unlock()
	if again || !strange {
		http.Error(w, "one request a connection", http.StatusForbidden)
		return
	}
	message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxJoin))
	if err != nil {
		http.Error(w, fmt.Sprintf("a request has at most %d bytes", MaxJoin), http.StatusRequestEntityTooLarge)
		return
	}
	exporter, err := Exporter(*r.TLS)
	if err != nil || len(r.TLS.PeerCertificates) == 0 {
		http.Error(w, "TLS 1.3 only", http.StatusForbidden)
		return
	}
	status, text := p.config.Stranger(r.Context(), Stranger{
		Pin: pinOf(r.TLS.PeerCertificates[0]), Addr: r.RemoteAddr, Exporter: exporter, Message: message,
	})
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text[:min(len(text), MaxJoin)])
}

// Ask says one thing to a node of a roster that does not have the caller: message is given what the connection exports,
// and its result is sent. who is the node that answered. pins are the nodes that are believed, as Config.Pins gives them; dial
// nil is TCP.
func Ask(ctx context.Context, addr string, cert tls.Certificate, pins map[string]string, dial func(context.Context, string) (net.Conn, error),
	message func(exporter []byte) ([]byte, error)) (who string, status int, answer string, err error) {
	who, status, text, err := once(ctx, addr, cert, pins, dial, func(exporter []byte) (string, string, []byte, error) {
		body, err := message(exporter)
		return http.MethodPost, JoinPath, body, err
	}, MaxJoin)
	return who, status, strings.TrimSpace(string(text)), err
}

// Get asks a node of the roster that is no member yet, or is not known to be one, for what its Handler gives: at most limit
// bytes. who, pins and dial are as for Ask.
func Get(ctx context.Context, addr string, cert tls.Certificate, pins map[string]string, dial func(context.Context, string) (net.Conn, error), path string, limit int64) (who string, text []byte, err error) {
	who, status, text, err := once(ctx, addr, cert, pins, dial, func([]byte) (string, string, []byte, error) { return http.MethodGet, path, nil, nil }, limit)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("ask %q: node %s answers %d: %.200q", clip(addr), clip(who), status, bytes.TrimSpace(text))
	}
	return who, text, err
}

// once makes one request on a connection of its own.
func once(ctx context.Context, addr string, cert tls.Certificate, pins map[string]string, dial func(context.Context, string) (net.Conn, error),
	request func(exporter []byte) (method, path string, body []byte, err error), limit int64) (who string, status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, strangerWithin)
	defer cancel()
	fail := func(err error) (string, int, []byte, error) {
		return who, 0, nil, fmt.Errorf("ask %q: %w", clip(addr), err)
	}
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	raw, err := dial(ctx, addr)
	if err != nil {
		return fail(err)
	}
	defer raw.Close()
	t := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, // the key is held against the roster's
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("it shows no certificate")
			}
			pin := pinOf(state.PeerCertificates[0])
			for id, want := range pins {
				if strings.EqualFold(want, pin) {
					who = id
					return nil
				}
			}
			return fmt.Errorf("%w (TLS key %s)", ErrUnknown, pin)
		},
	})
	if err := t.HandshakeContext(ctx); err != nil {
		return fail(err)
	}
	exporter, err := Exporter(t.ConnectionState())
	if err != nil {
		return fail(err)
	}
	method, path, body, err := request(exporter)
	if err != nil {
		return fail(err)
	}
	used := false
	transport := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			if used {
				return nil, errors.New("the connection ended")
			}
			used = true
			return t, nil
		},
		Protocols: onlyHTTP2(), DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+who+path, bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(io.LimitReader(resp.Body, limit+1)); err != nil {
		return fail(err)
	}
	if int64(len(text)) > limit {
		return fail(fmt.Errorf("its answer is longer than %d bytes", limit))
	}
	return who, resp.StatusCode, text, nil
}
