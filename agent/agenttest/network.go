package agenttest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Network carries packets and streams between simulated hosts, with delay, loss and partitions. It uses no socket and
// no real time, so that it works inside a synctest bubble. What a stream loses is sent again, as TCP does it (RFC 6298,
// with Linux's least timeout), and counted again.
type Network struct {
	mu      sync.Mutex
	random  *rand.Rand
	latency time.Duration
	loss    float64
	side    map[netip.Addr]int // partition by address; 0 where none was named
	down    map[netip.Addr]bool
	changed chan struct{} // closed when the partition changes
	hosts   map[netip.Addr]*HostNetwork
	dials   map[string]int
	tap     func(b []byte)
}

// Tap lets somebody who sits on the network read all that is sent from now on. It is called from many goroutines, one at a time.
func (n *Network) Tap(read func(b []byte)) { n.mu.Lock(); n.tap = read; n.mu.Unlock() }

// overhear gives what is sent to who taps.
func (n *Network) overhear(b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tap != nil {
		n.tap(b)
	}
}

// Dials is how many streams each address has tried to open.
func (n *Network) Dials() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.dials)
}

// NewNetwork is a network of 1 ms delay and no loss.
func NewNetwork(seed uint64) *Network {
	return &Network{random: rand.New(rand.NewPCG(seed, 1)), latency: time.Millisecond, side: map[netip.Addr]int{}, down: map[netip.Addr]bool{},
		changed: make(chan struct{}), hosts: map[netip.Addr]*HostNetwork{}, dials: map[string]int{}}
}

// SetLatency sets the delay one way.
func (n *Network) SetLatency(d time.Duration) { n.mu.Lock(); n.latency = d; n.mu.Unlock() }

// SetLoss sets which part of the packets is lost, those of streams included.
func (n *Network) SetLoss(part float64) { n.mu.Lock(); n.loss = part; n.mu.Unlock() }

const (
	segmentTimeout = 200 * time.Millisecond // until a segment of a stream is sent again; doubles each time
	synTimeout     = time.Second            // the same while a stream is opened
)

// lost is how often something is sent in vain before it arrives, where each try has so many packets that must arrive.
func (n *Network) lost(packets int) (times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for times < 10 {
		ok := true
		for range packets {
			ok = ok && n.random.Float64() >= n.loss
		}
		if ok {
			break
		}
		times++
	}
	return times
}

// backedOff is how long so many tries in vain take.
func backedOff(first time.Duration, times int) time.Duration { return first<<times - first }

// Partition cuts the named groups of addresses off from all others and from each other.
func (n *Network) Partition(groups ...[]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.side = map[netip.Addr]int{}
	for i, g := range groups {
		for _, a := range g {
			n.side[netip.MustParseAddr(a)] = i + 1
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// Down takes an address off the network, and Up ends that.
func (n *Network) Down(addr string) { n.set(addr, true) }

// Up brings back what Down took away.
func (n *Network) Up(addr string) { n.set(addr, false) }

func (n *Network) set(addr string, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[netip.MustParseAddr(addr)] = down
	close(n.changed)
	n.changed = make(chan struct{})
}

// Heal ends all partitions.
func (n *Network) Heal() { n.Partition() }

// Host is the network of one address, made on first use.
func (n *Network) Host(addr string) *HostNetwork {
	n.mu.Lock()
	defer n.mu.Unlock()
	ip := netip.MustParseAddr(addr)
	h := n.hosts[ip]
	if h == nil {
		h = &HostNetwork{n: n, ip: ip, listeners: map[uint16]*listener{}, packets: map[uint16]*packetConn{}, conns: map[*conn]bool{}, next: 40000}
		n.hosts[ip] = h
	}
	return h
}

// reach gives the delay from one address to another; blocked gets a channel that closes when that may have changed.
func (n *Network) reach(from, to netip.Addr) (delay time.Duration, blocked <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.side[from] != n.side[to] || n.down[from] || n.down[to] {
		return 0, n.changed
	}
	return n.latency, nil
}

// HostNetwork is the network as one host has it.
type HostNetwork struct {
	n  *Network
	ip netip.Addr

	mu        sync.Mutex
	sent      uint64
	listeners map[uint16]*listener
	packets   map[uint16]*packetConn
	conns     map[*conn]bool
	next      uint16
}

// Sent is how many bytes the host has sent, headers of UDP, TCP and IP and acknowledgements included.
func (h *HostNetwork) Sent() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent
}

func (h *HostNetwork) count(payload, header int) {
	h.mu.Lock()
	h.sent += uint64(payload + header)
	h.mu.Unlock()
}

// Cut ends all the host's streams, as a crash would.
func (h *HostNetwork) Cut() {
	h.mu.Lock()
	var all []*conn
	for c := range h.conns {
		all = append(all, c)
	}
	h.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
		c.in.end(io.ErrUnexpectedEOF)
	}
}

// port picks the port that addr names, or a free one.
func (h *HostNetwork) port(addr string) (uint16, error) {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return 0, err
	}
	if number == 0 {
		h.next++
		return h.next, nil
	}
	return uint16(number), nil
}

// Listen takes streams.
func (h *HostNetwork) Listen(addr string) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	port, err := h.port(addr)
	if err != nil {
		return nil, err
	}
	if h.listeners[port] != nil {
		return nil, fmt.Errorf("listen on %s: address in use", addr)
	}
	l := &listener{h: h, port: port, queue: make(chan net.Conn, 64), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// Packets takes packets.
func (h *HostNetwork) Packets(addr string) (net.PacketConn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	port, err := h.port(addr)
	if err != nil {
		return nil, err
	}
	if h.packets[port] != nil {
		return nil, fmt.Errorf("listen for packets on %s: address in use", addr)
	}
	p := &packetConn{h: h, port: port, queue: make(chan packet, 512), closed: make(chan struct{})}
	h.packets[port] = p
	return p, nil
}

// Dial connects to another host. Where a partition is between, it waits for its end or for ctx's.
func (h *HostNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	h.n.mu.Lock()
	h.n.dials[h.ip.String()]++
	h.n.mu.Unlock()
	for {
		delay, blocked := h.n.reach(h.ip, to.Addr())
		if blocked == nil {
			times := h.n.lost(2)
			h.count(0, 60*(1+times))
			t := time.NewTimer(2*delay + backedOff(synTimeout, times))
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return nil, ctx.Err()
			}
			break
		}
		select {
		case <-blocked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	h.n.mu.Lock()
	other := h.n.hosts[to.Addr()]
	h.n.mu.Unlock()
	var l *listener
	if other != nil {
		other.mu.Lock()
		l = other.listeners[to.Port()]
		other.mu.Unlock()
	}
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	h.mu.Lock()
	h.next++
	local := netip.AddrPortFrom(h.ip, h.next)
	h.mu.Unlock()
	there, here := newStream(), newStream()
	mine := &conn{h: h, local: local, remote: to, in: here, out: there}
	theirs := &conn{h: other, local: to, remote: local, in: there, out: here}
	h.keep(mine)
	other.keep(theirs)
	select {
	case l.queue <- theirs:
		return mine, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	_ = mine.Close()
	return nil, fmt.Errorf("dial %s: connection refused", addr)
}

func (h *HostNetwork) keep(c *conn) {
	h.mu.Lock()
	h.conns[c] = true
	h.mu.Unlock()
}

type listener struct {
	h      *HostNetwork
	port   uint16
	queue  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.h.mu.Lock()
		delete(l.h.listeners, l.port)
		l.h.mu.Unlock()
	})
	return nil
}

func (l *listener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.h.ip, l.port))
}

type packet struct {
	b    []byte
	from netip.AddrPort
}

type packetConn struct {
	h      *HostNetwork
	port   uint16
	queue  chan packet
	once   sync.Once
	closed chan struct{}
}

func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case got := <-p.queue:
		return copy(b, got.b), net.UDPAddrFromAddrPort(got.from), nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

func (p *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
	}
	to, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return 0, err
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	p.h.count(len(b), 28)
	p.h.n.overhear(b)
	delay, blocked := p.h.n.reach(p.h.ip, to.Addr())
	p.h.n.mu.Lock()
	other := p.h.n.hosts[to.Addr()]
	lost := p.h.n.random.Float64() < p.h.n.loss
	p.h.n.mu.Unlock()
	if blocked != nil || other == nil || lost {
		return len(b), nil
	}
	got := packet{append([]byte(nil), b...), netip.AddrPortFrom(p.h.ip, p.port)}
	time.AfterFunc(delay, func() {
		other.mu.Lock()
		q := other.packets[to.Port()]
		other.mu.Unlock()
		if q == nil {
			return
		}
		select {
		case q.queue <- got:
		default: // as a full socket buffer
		}
	})
	return len(b), nil
}

func (p *packetConn) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.h.mu.Lock()
		delete(p.h.packets, p.port)
		p.h.mu.Unlock()
	})
	return nil
}

func (p *packetConn) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.h.ip, p.port))
}
func (p *packetConn) SetDeadline(time.Time) error      { return nil }
func (p *packetConn) SetReadDeadline(time.Time) error  { return nil }
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }
