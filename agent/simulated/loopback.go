package simulated

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gossip"
)

// Loopback is this machine's 127.0.0.1 as a network of many hosts, which differ by their ports. Sockets are opened when
// ports are chosen, so that nobody else takes them before their agent does. It reaches no other address.
type Loopback struct {
	mu      sync.Mutex
	streams map[string]net.Listener   // opened and not asked for yet
	packets map[string]net.PacketConn // likewise
}

// reserveTries is how often a port is drawn that must be free for TCP and UDP alike.
const reserveTries = 100

// Check fails where this machine does not reach itself, as in a container whose loopback is down.
func (l *Loopback) Check(ctx context.Context) error {
	s, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil {
		defer s.Close()
		var c net.Conn
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if c, err = l.Dial(ctx, s.Addr().String()); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("this machine does not reach itself at 127.0.0.1 (is its loopback up?): %w", err)
}

// Reserve gives addresses for the gossip and the streams of one host.
func (l *Loopback) Reserve() (gossipAddr, peerAddr string, err error) {
	for range reserveTries {
		if gossipAddr, err = l.reserve(true); err == nil {
			break
		}
	}
	if err == nil {
		peerAddr, err = l.reserve(false)
	}
	if err != nil {
		return "", "", fmt.Errorf("find free ports on loopback: %w", err)
	}
	return gossipAddr, peerAddr, nil
}

func (l *Loopback) reserve(both bool) (string, error) {
	s, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := s.Addr().String()
	var p net.PacketConn
	if both {
		if p, err = net.ListenPacket("udp4", addr); err != nil {
			_ = s.Close()
			return "", err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams, l.packets = map[string]net.Listener{}, map[string]net.PacketConn{}
	}
	l.streams[addr] = s
	if both {
		l.packets[addr] = p
	}
	return addr, nil
}

var errNotLoopback = errors.New("not an address of this simulated fleet")

func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host != "127.0.0.1" {
		return fmt.Errorf("%q: %w", addr, errNotLoopback)
	}
	return nil
}

// Listen takes TCP connections at an address of Reserve.
func (l *Loopback) Listen(addr string) (net.Listener, error) {
	if err := loopback(addr); err != nil {
		return nil, err
	}
	l.mu.Lock()
	s := l.streams[addr]
	delete(l.streams, addr)
	l.mu.Unlock()
	if s != nil {
		return s, nil
	}
	return gossip.System{}.Listen(addr) // an agent that starts again
}

// Packets takes UDP packets at an address of Reserve.
func (l *Loopback) Packets(addr string) (net.PacketConn, error) {
	if err := loopback(addr); err != nil {
		return nil, err
	}
	l.mu.Lock()
	p := l.packets[addr]
	delete(l.packets, addr)
	l.mu.Unlock()
	if p != nil {
		return p, nil
	}
	return gossip.System{}.Packets(addr)
}

// Dial connects to another host of the fleet.
func (l *Loopback) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if err := loopback(addr); err != nil {
		return nil, err
	}
	return gossip.System{}.Dial(ctx, addr)
}

// Close closes what was reserved and not used.
func (l *Loopback) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, s := range l.streams {
		_ = s.Close()
		delete(l.streams, addr)
	}
	for addr, p := range l.packets {
		_ = p.Close()
		delete(l.packets, addr)
	}
}
