package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dunlin-dev/dunlin/schema"
)

// Network is how packets and streams travel.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Packets(addr string) (net.PacketConn, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// addresser is a Network that knows this host's addresses better than its interfaces do.
type addresser interface{ Addresses() ([]net.Addr, error) }

// System is the network of this host.
type System struct{}

// Listen takes TCP connections.
func (System) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

// Packets takes UDP packets.
func (System) Packets(addr string) (net.PacketConn, error) { return net.ListenPacket("udp", addr) }

// Dial connects by TCP.
func (System) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// transport carries memberlist's messages over a Network.
type transport struct {
	network Network
	l       net.Listener
	p       net.PacketConn
	ip      net.IP
	port    int
	packets chan *memberlist.Packet
	streams chan net.Conn
	mu      sync.Mutex
	open    int            // streams of others
	from    map[string]int // the same by host
	stopped chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
	door    *door
	claims  *claims
	tally   *counters
	reading atomic.Int64 // bytes of streams
}

// maxPacket is the largest packet taken, in bytes.
const maxPacket = 65536

// listen opens both sockets on one port and says under which address others reach them.
func listen(n Network, bind, advertise string) (*transport, error) {
	l, err := n.Listen(bind)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen on %q: %w", bind, err)
	}
	host, _, err := net.SplitHostPort(bind)
	_, port, err2 := net.SplitHostPort(l.Addr().String())
	number, err3 := strconv.Atoi(port)
	if err := errors.Join(err, err2, err3); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("gossip: address %q: %w", bind, err)
	}
	p, err := n.Packets(net.JoinHostPort(host, port))
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("gossip: listen for packets on %q: %w", bind, err)
	}
	t := &transport{network: n, l: l, p: p, port: number, packets: make(chan *memberlist.Packet, 256), streams: make(chan net.Conn), from: map[string]int{}, stopped: make(chan struct{})}
	if t.ip, t.port, err = advertised(n, host, number, advertise); err != nil {
		_, _ = l.Close(), p.Close()
		return nil, err
	}
	return t, nil
}

// read begins to read; door, claims and tally are set.
func (t *transport) read() {
	t.wg.Go(t.readPackets)
	t.wg.Go(t.readStreams)
}

// addresses are where others reach this node; peer is host:port of its peer server.
func (t *transport) addresses(peer string) (a schema.AddressRecord, err error) {
	ip, ok := netip.AddrFromSlice(t.ip)
	host, port, err := net.SplitHostPort(peer)
	number, err2 := strconv.ParseUint(port, 10, 16)
	if err := errors.Join(err, err2); err != nil || !ok {
		return a, fmt.Errorf("gossip: peer address %q: %w", peer, err)
	}
	a.Gossip = netip.AddrPortFrom(ip.Unmap(), uint16(t.port))
	a.Peer = netip.AddrPortFrom(ip.Unmap(), uint16(number))
	if own, err := netip.ParseAddr(host); err == nil && !own.IsUnspecified() {
		a.Peer = netip.AddrPortFrom(own.Unmap().WithZone(""), uint16(number))
	}
	if err := a.Check(a.Gossip.Addr()); err != nil {
		return a, fmt.Errorf("gossip: %w (set gossip.advertise to where others reach this host)", err)
	}
	return a, nil
}

// advertised is the address that others are told.
func advertised(n Network, host string, port int, advertise string) (net.IP, int, error) {
	if advertise != "" {
		if h, p, err := net.SplitHostPort(advertise); err == nil {
			number, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return nil, 0, fmt.Errorf("gossip: advertise %q: its port is not a number", advertise)
			}
			host, port = h, int(number)
		} else {
			host = advertise
		}
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return ip, port, nil
	}
	if host != "" && net.ParseIP(host) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
		if err != nil || len(ips) == 0 {
			return nil, 0, fmt.Errorf("gossip: address %q cannot be resolved: %w", host, err)
		}
		return ips[0], port, nil
	}
	ip, err := ownAddress(n)
	return ip, port, err
}

// ownAddress is the host's address that others most likely reach: the first private one, else the first that is not
// loopback, else loopback.
func ownAddress(n Network) (net.IP, error) {
	read := net.InterfaceAddrs
	if a, ok := n.(addresser); ok {
		read = a.Addresses
	}
	addrs, err := read()
	if err != nil {
		return nil, fmt.Errorf("gossip: read this host's addresses: %w (set gossip.advertise)", err)
	}
	best, rank := net.IPv4(127, 0, 0, 1), 0
	for _, a := range addrs {
		prefix, ok := a.(*net.IPNet)
		if !ok || !prefix.IP.IsGlobalUnicast() {
			continue
		}
		r := 1
		if prefix.IP.To4() != nil {
			r += 2
		}
		if prefix.IP.IsPrivate() {
			r++
		}
		if r > rank {
			best, rank = prefix.IP, r
		}
	}
	return best, nil
}

func (t *transport) readPackets() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := t.p.ReadFrom(buf)
		if err != nil {
			select {
			case <-t.stopped:
				return
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}
		if n == 0 {
			continue
		}
		source, err := netip.ParseAddrPort(from.String())
		if err != nil {
			continue
		}
		now := time.Now()
		b := t.door.packet(append([]byte(nil), buf[:n]...), source, now)
		if b == nil {
			continue
		}
		packet := &memberlist.Packet{Buf: b, From: from, Timestamp: now}
		select {
		case t.packets <- packet:
		case <-t.stopped:
			return
		}
	}
}

func (t *transport) readStreams() {
	for {
		c, err := t.l.Accept()
		if err != nil {
			select {
			case <-t.stopped:
				return
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}
		counted := t.count(c)
		if counted == nil {
			_ = c.Close()
			continue
		}
		select {
		case t.streams <- counted:
		case <-t.stopped:
			_ = counted.Close()
			return
		}
	}
}

// count takes a stream into account that somebody else has opened; nil where there is no room. Who has no key may hold one
// for seconds, so no address has them all.
func (t *transport) count(c net.Conn) net.Conn {
	host := c.RemoteAddr().String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open >= maxStreams || t.from[host] >= maxFromOne {
		return nil
	}
	t.open++
	t.from[host]++
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		from = netip.AddrPort{}
	}
	return &counted{Conn: &seen{Conn: c, t: t, labelled: true, from: from}, end: sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open--
		if t.from[host]--; t.from[host] == 0 {
			delete(t.from, host)
		}
	})}
}

// counted is a stream that somebody else has opened.
type counted struct {
	net.Conn
	end func()
}

func (c *counted) Close() error {
	c.end()
	return c.Conn.Close()
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return t.ip, t.port, nil }

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip: address %q: %w", addr, err)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	now := time.Now()
	if !t.claims.may(to, now) {
		t.tally.unverified.Add(1)
		return now, nil // as one that is lost: memberlist has to see that nobody answers there
	}
	_, err = t.p.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return now, err
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) DialTimeout(addr string, d time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("gossip: address %q: %w", addr, err)
	}
	if !t.claims.may(netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), time.Now()) {
		t.tally.unverified.Add(1)
		return nil, fmt.Errorf("gossip: no node has signed that it is at %s", to)
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	c, err := t.network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &seen{Conn: c, t: t, from: to}, nil
}

// Shutdown closes the sockets and waits for their readers.
func (t *transport) Shutdown() error {
	var err error
	t.once.Do(func() {
		close(t.stopped)
		err = errors.Join(t.l.Close(), t.p.Close())
	})
	t.wg.Wait()
	return err
}
