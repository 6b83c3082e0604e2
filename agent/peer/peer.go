// Package peer keeps the streams over which nodes exchange their records, and
// carries direct calls from node to node.
//
// There is one port, TLS 1.3 and HTTP/2 on it. Both sides show a certificate,
// of which only the key counts: the roster pins it, and who is not in the roster may at
// most say one thing (Config.Stranger). Over one long request to each of a few neighbours
// the records go: new ones are offered by their digests as they come, each
// record crosses a link when the other side has asked for it, and every half minute
// both sides compare hashes, so that whatever was lost on the way is found. Small records that
// cannot wait are sent unasked, and so is what Push is given.
//
// A peer is believed to be a node of the roster and nothing more: every length is
// bounded, what was not asked for is not taken, and a peer that does not read
// holds nothing but its own stream.
package peer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// How streams are kept. Durations are of the wall clock.
const (
	neighbours   = 3  // streams that a node opens
	maxLinks     = 8  // streams and attempts of them, while some neighbours do not answer
	maxAccepted  = 16 // streams of others
	maxConns     = 512
	maxStrangers = 128 // connections that have not shown yet whose they are, and how many of one address
	maxFromOne   = 16
	maxFromNode  = 16                     // connections of one node
	batch        = 100 * time.Millisecond // between two offers
	round        = 30 * time.Second       // between comparisons of a stream, and up to a third more
	answerWithin = 20 * time.Second       // after which a neighbour that owes an answer is given up
	writeWithin  = 20 * time.Second       // for one frame
	idleWithin   = 100 * time.Second      // between two frames of who has dialled
	dialWithin   = 10 * time.Second       // with the handshake
	wantWithin   = 3 * time.Second        // until another neighbour is asked for a record
	tick         = time.Second            // between two looks at what is awaited
	calm         = 30 * time.Second       // the same where nothing is
	leastPause   = time.Second
	mostPause    = 15 * time.Second
	pushFresh    = time.Minute      // how long after a push new streams are given it, too; urgent records likewise
	maxFresh     = 8                // and so many of them, the newest
	leastCompare = 15 * time.Second // between two comparisons that Compare asks for
)

// MaxPush bounds what Push sends, in bytes.
const MaxPush = 16 << 10

// Store is what the streams need of the records. Digests are 32 hex characters; a bucket is the digests that begin with
// one byte.
type Store interface {
	Missing(ds []string) []string
	Get(ds []string) []schema.Record
	Put(r schema.Record) (fresh bool, err error)
	Digests() []string // sorted
	Buckets() [256][32]byte
	Bucket(i int) []string
}

// Config says who this node is and what it reaches.
type Config struct {
	Self string          // id of this node
	Cert tls.Certificate // its key is the one that the roster pins
	// Pins gives the nodes that are believed: id to hex SHA-256 of the SubjectPublicKeyInfo. It is called often and from
	// many goroutines; nobody changes the map.
	Pins     func() map[string]string
	Listener net.Listener
	// Dial reaches the address of a member. Nil: TCP.
	Dial  func(ctx context.Context, addr string) (net.Conn, error)
	Store Store
	// Urgent says which new records are sent without waiting to be asked for; those longer than 2 KiB are not. Nil: none.
	Urgent func(schema.Record) bool
	// Pushed is given what a neighbour pushes. It must not block, and owns data. Nil: nobody wants it.
	Pushed func(from string, topic [20]byte, data []byte)
	// Pinned is told of each connection that a node of the roster has opened: whose it is and where it comes from. It must not
	// block. Nil: nobody wants to know.
	Pinned func(id string, from netip.Addr)
	// Handler answers what peers ask beside streams; nil: nothing is found. Caller tells who asks.
	Handler http.Handler
	// Stranger answers a host that the roster does not have, which may say one thing: that it asks to be let in. It gives a
	// status of HTTP and a text. Nil: such a host gets no further than the handshake.
	Stranger func(context.Context, Stranger) (status int, text string)
	// Start is a random name of this start, at most 64 bytes, and Twin is told when another program has shown that it holds this
	// node's key. It must not block. Without Start nobody with that key gets further than the handshake.
	Start string
	Twin  func()
	// Rand gives numbers in [0,1) for jitter; nil: the system's.
	Rand func() float64
	// Log takes a line for people; texts of peers are quoted in it, and floods are thinned. Nil: nobody reads it.
	Log func(string)
}

// Member is a node that can be reached.
type Member struct {
	ID   string
	Addr string // host:port of its peer server
}

// Peers are the others. Its methods may be called from many goroutines.
type Peers struct {
	config       Config
	server       *http.Server
	transport    *http.Transport
	log          *thinned
	in, out      atomic.Uint64
	slowed, cuts atomic.Uint64
	dirty        chan struct{} // records are there to offer
	kick         chan struct{} // neighbours may have changed
	work         sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	members  map[string]string // id to address
	order    []string          // ids of members, the first neighbour first
	links    map[string]*link  // what this node dials
	accepted map[string]*stream
	accounts map[string]*account // of nodes of the roster
	conns    map[*conn]struct{}
	nth      uint64         // connections so far
	unknown  map[string]int // connections that have not shown whose they are, by host
	wanted   map[string]*wish
	pushed   push      // the newest
	urged    []urged   // urgent records of late, oldest first
	compared time.Time // when Compare last did something
	last     []string  // digests offered so far, sorted; of the offering goroutine alone
}

// push is what Push was given last.
type push struct {
	at    time.Time // zero: nothing yet
	topic [topicLen]byte
	frame []byte
}

// urged is an urgent record, and when it was new here.
type urged struct {
	at time.Time
	named
}

// late are the urgent records of late that are still the newest of their kind: who was away must not wait for a comparison.
func (p *Peers) late(now time.Time) (out []named) {
	p.mu.Lock()
	all := slices.Clone(p.urged)
	p.mu.Unlock()
	for _, u := range all {
		if now.Sub(u.at) < pushFresh && len(p.config.Store.Get([]string{u.digest})) == 1 {
			out = append(out, u.named)
		}
	}
	return out
}

// link is a neighbour that this node has chosen.
type link struct {
	failures int
	next     time.Time
	running  bool
	stop     context.CancelFunc
	stream   *stream // nil until it stands
}

// New checks a configuration; nothing runs before Serve.
func New(c Config) (*Peers, error) {
	switch {
	case c.Self == "" || c.Pins == nil || c.Store == nil || c.Listener == nil:
		return nil, errors.New("peer: Self, Pins, Store and Listener are required")
	case len(c.Cert.Certificate) == 0 || c.Cert.PrivateKey == nil:
		return nil, errors.New("peer: no certificate")
	}
	if c.Dial == nil {
		d := &net.Dialer{KeepAlive: time.Minute}
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Log == nil {
		c.Log = func(string) {}
	}
	p := &Peers{
		config: c, log: &thinned{to: c.Log}, dirty: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		members: map[string]string{}, links: map[string]*link{}, accepted: map[string]*stream{}, accounts: map[string]*account{},
		conns: map[*conn]struct{}{}, unknown: map[string]int{}, wanted: map[string]*wish{},
	}
	p.server = p.newServer()
	p.transport = p.newTransport()
	return p, nil
}

// Bytes counts what has gone over all connections, TLS included and TCP not.
func (p *Peers) Bytes() (in, out uint64) { return p.in.Load(), p.out.Load() }

// Offer tells the neighbours which records are new in the store: at once, or together with others after a tenth of a second.
func (p *Peers) Offer() { wake(p.dirty) }

// Push sends data, at most MaxPush bytes, to all neighbours that have not pushed the same topic themselves, and to those
// that come within a minute. Only the newest push matters: one that was not sent yet gives way to the next.
func (p *Peers) Push(topic [20]byte, data []byte) {
	if len(data) > MaxPush {
		return
	}
	f := frame(framePush, append(topic[:], data...))
	p.mu.Lock()
	p.pushed = push{time.Now(), topic, f}
	p.mu.Unlock()
	for _, s := range p.streams() {
		s.push(topic, f)
	}
}

// Compare asks the neighbours soon whether they hold what this node holds, rather than with the next round. It opens no
// connection, and does nothing when it was called just before.
func (p *Peers) Compare() {
	now := time.Now()
	p.mu.Lock()
	early := now.Sub(p.compared) < leastCompare
	if !early {
		p.compared = now
	}
	p.mu.Unlock()
	if early {
		return
	}
	for _, s := range p.streams() {
		if s.asks {
			s.compare()
			wake(s.wake)
		}
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// SetMembers says who can be reached, and is called when the pins have changed, too. Streams to those that are no longer
// neighbours end, and connections of those that have another pin, or none.
func (p *Peers) SetMembers(ms []Member) {
	members := map[string]string{}
	for _, m := range ms {
		if m.ID != p.config.Self && m.ID != "" && m.Addr != "" {
			members[m.ID] = m.Addr
		}
	}
	order := make([]string, 0, len(members))
	weight := map[string][32]byte{}
	for id := range members {
		order = append(order, id)
		weight[id] = sha256.Sum256([]byte(p.config.Self + "\n" + id))
	}
	slices.SortFunc(order, func(a, b string) int {
		wa, wb := weight[a], weight[b]
		return cmp.Or(slices.Compare(wa[:], wb[:]), strings.Compare(a, b))
	})
	p.mu.Lock()
	for id, addr := range members {
		// One that comes back need not wait until its last failures are forgotten.
		if l := p.links[id]; l != nil && !l.running && p.members[id] != addr {
			delete(p.links, id)
		}
	}
	p.members, p.order = members, order
	p.mu.Unlock()
	wake(p.kick)
}

// Neighbours gives the ids of those with whom streams stand, sorted.
func (p *Peers) Neighbours() []string {
	var ids []string
	for _, s := range p.streams() {
		ids = append(ids, s.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Serve answers peers and keeps the streams until ctx ends, then closes everything and waits for it; the error is nil
// then. It closes the listener. It is called once.
func (p *Peers) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.work.Go(func() { p.offering(ctx) })
	p.work.Go(func() { p.keeping(ctx) })
	failed := make(chan error, 1)
	p.work.Go(func() { failed <- p.server.ServeTLS(&listener{p.config.Listener, p}, "", "") })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve peers: %w", err)
	}
	cancel()
	p.end()
	return err
}

func (p *Peers) end() {
	p.mu.Lock()
	p.closed = true
	conns := make([]*conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	_ = p.server.Close()
	for _, s := range p.streams() {
		s.close(errEnd)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	p.transport.CloseIdleConnections()
	p.work.Wait()
}

// streams gives all that stand.
func (p *Peers) streams() []*stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*stream
	for _, s := range p.accepted {
		out = append(out, s)
	}
	for _, l := range p.links {
		if l.stream != nil {
			out = append(out, l.stream)
		}
	}
	return out
}

// offering offers what is new, at most once a batch.
func (p *Peers) offering(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.dirty:
		}
		now := p.config.Store.Digests()
		fresh := added(p.last, now)
		p.last = now
		if len(fresh) > 0 {
			urgent, rest := p.urgent(fresh)
			p.mu.Lock()
			for _, n := range urgent {
				p.urged = append(p.urged, urged{time.Now(), n})
			}
			p.urged = slices.Clone(p.urged[max(0, len(p.urged)-maxFresh):])
			p.mu.Unlock()
			for _, s := range p.streams() {
				s.urge(urgent)
				s.offer(rest, len(now))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(batch):
		}
	}
}

// urgent picks the records that are not only offered.
func (p *Peers) urgent(ds []string) (urgent []named, rest []string) {
	if p.config.Urgent == nil {
		return nil, ds
	}
	for _, d := range ds {
		rs := p.config.Store.Get([]string{d})
		if len(rs) == 1 && len(rs[0].Body) <= maxUrgent && p.config.Urgent(rs[0]) {
			urgent = append(urgent, named{d, rs[0]})
		} else {
			rest = append(rest, d)
		}
	}
	return urgent, rest
}

// added gives what now has and old has not; both are sorted.
func added(old, now []string) []string {
	var out []string
	for _, d := range now {
		for len(old) > 0 && old[0] < d {
			old = old[1:]
		}
		if len(old) == 0 || old[0] != d {
			out = append(out, d)
		}
	}
	return out
}

// keeping opens, ends and renews streams. Where nothing is awaited it sleeps.
func (p *Peers) keeping(ctx context.Context) {
	t := time.NewTimer(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-t.C:
		}
		p.expel()
		now := time.Now()
		wishes, dials := p.askOthers(now), p.choose(ctx, now)
		if wishes || dials {
			t.Reset(tick)
		} else {
			t.Reset(calm)
		}
	}
}

// choose lets streams to the neighbours run and ends others: the first three of the order, more while some of them do
// not answer. It reports whether one waits until it is dialled again.
func (p *Peers) choose(ctx context.Context, now time.Time) (waits bool) {
	pins := p.config.Pins()
	p.mu.Lock()
	defer p.mu.Unlock()
	chosen := map[string]bool{}
	well := 0
	for _, id := range p.order {
		if well >= neighbours || len(chosen) >= maxLinks {
			break
		}
		if _, ok := pins[id]; !ok || p.accounts[id] != nil && p.accounts[id].cut(now) {
			continue
		}
		l := p.links[id]
		if l == nil || l.failures < 2 {
			well++
		}
		chosen[id] = true
		if l == nil {
			l = &link{}
			p.links[id] = l
		}
		// One stream is enough where both have chosen each other: that of the lower id.
		if other := p.accepted[id]; other != nil && (!l.running || p.config.Self > id) {
			if l.running {
				l.stop()
			}
			l.failures = 0
			continue
		}
		if l.running {
			continue
		}
		if now.Before(l.next) {
			waits = true
			continue
		}
		own, stop := context.WithCancel(ctx)
		l.running, l.stop = true, stop
		p.work.Go(func() {
			defer stop()
			p.dialled(id, l, p.connect(own, id, l))
		})
	}
	for id, l := range p.links {
		switch {
		case chosen[id]:
		case l.running:
			l.stop()
		default:
			delete(p.links, id)
		}
	}
	return waits
}

// dialled accounts for the end of a stream, or of an attempt.
func (p *Peers) dialled(id string, l *link, err error) {
	p.mu.Lock()
	stood := l.stream != nil && time.Since(l.stream.since) > mostPause
	l.stream, l.running = nil, false
	if stood {
		l.failures = 0
	}
	pause := min(leastPause<<min(l.failures, 8), mostPause)
	l.failures++
	l.next = time.Now().Add(pause/2 + time.Duration(p.config.Rand()*float64(pause)/2))
	closed := p.closed
	p.mu.Unlock()
	wake(p.kick)
	if err != nil && !closed && !errors.Is(err, context.Canceled) {
		p.log.printf("stream to %q: %s", clip(id), told(err))
	}
}

// told is an error in words for people.
func told(err error) string {
	if s := err.Error(); !strings.Contains(s, "remote error: tls: bad certificate") {
		return s
	}
	return "it does not accept this node's key: the policy in force there has no line of this node in its roster, or another one"
}
