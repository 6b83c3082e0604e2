// Package gossip finds the other nodes of the fleet and tells which are there.
//
// It is memberlist (SWIM with Lifeguard) with encryption and a label, over a
// network that the caller gives. Who holds the gossip key can claim anything
// here, so all of it is a hint: which node has which address is proved by the
// streams between peers, and what is true of a node by its signature.
package gossip

import (
	"context"
	"fmt"
	"log"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// MaxHint is how long a hint may be, in bytes.
	MaxHint = 64
	// KeySize is how long the gossip key is, in bytes (AES-256).
	KeySize = 32
	// maxMeta bounds what a member says of itself, in bytes.
	maxMeta = 256
	// maxHints is how many hints wait to be heard; the oldest go first.
	maxHints = 256
	// slowRound is the time between two rounds in which memberlist tells what is new, and slowTo how many it tells. It wakes
	// up for each though there is mostly nothing to tell, and an idle host pays some 0.2 ms each time that it does.
	slowRound = 1500 * time.Millisecond
	slowTo    = 8
	// probe is the time between two looks at whether some other member is still there. Both clocks start at the same time,
	// and a timer that was stopped wakes the host up all the same: so all that is due falls together with a slow round.
	probe        = 2 * slowRound
	probeTimeout = slowRound
	// suspicion is how long a member that did not answer has to say that it lives: times probe, and times the decimal
	// logarithm of the number of members. It is the same where nobody else suspects it: a node that is cut off asks alone.
	suspicion = 3
	// patience is how many times slower a member asks that gets few answers, lest it be its own fault.
	patience = 2
	// quickRound and quickTo are the same for rounds of our own, see hurry; retransmit is how often each thing is told, times
	// that logarithm.
	quickRound = 200 * time.Millisecond
	quickTo    = 3
	retransmit = 4
	// hintMemory is how long a hint is known to have been heard, and maxHeard how many are.
	hintMemory = time.Minute
	maxHeard   = 1024
	// maxLost is how many members that went are tried again.
	maxLost = 1024
	// maxStreams is how many streams of others are open at a time. Each lives for seconds.
	maxStreams = 64
	// maxFromOne is how many of them come from one address.
	maxFromOne = 8
)

// Config is one member.
type Config struct {
	Name      string // the node's id
	Key       []byte // KeySize bytes, the same on all members
	Label     string // keeps clusters apart that share a network
	Bind      string // host:port; port 0 takes any
	Advertise string // host or host:port that others reach; empty: the bound address, or the host's first private one
	Peer      string // host:port of this node's peer server; without a host others use the address that gossip has
	Join      []string
	Network   Network
	Log       func(text string) // nil tells nobody
	// Known says which names may become members, so that who has the key cannot invent more. It is called under locks and
	// must not block. Nil: all that are ids.
	Known  func(id string) bool
	Alone  func(text string) // why nobody else is there, once all of Join were tried; "" when somebody is; nil tells nobody
	Random func() float64    // in [0,1), for jitter; nil is none
}

// Member is a node that is there.
type Member struct {
	ID   string
	Peer string // host:port of its peer server
}

// present is a member as it was told of last.
type present struct{ addr, peer string }

// Cluster is this node's view of all members. Its methods may be called from many goroutines.
type Cluster struct {
	c       Config
	list    atomic.Pointer[memberlist.Memberlist]
	queue   *memberlist.TransmitLimitedQueue
	hints   chan []byte
	changed chan struct{}
	resync  chan struct{}
	news    chan struct{} // there is something to tell
	tell    *translator
	addr    string
	stop    context.CancelFunc // ends seek
	quiet   context.CancelFunc // ends hurry
	loops   sync.WaitGroup

	mu    sync.Mutex
	heard map[string]time.Time // hints of the last minute
	here  map[string]present   // memberlist's own nodes change under its readers
	lost  map[string]string    // address by id of members that went
}

// Start opens the addresses and begins to look for others; that nobody is there yet is no error.
func Start(c Config) (*Cluster, error) {
	if len(c.Key) != KeySize {
		return nil, fmt.Errorf("gossip: the key has %d bytes and must have %d", len(c.Key), KeySize)
	}
	if !isID(c.Name) {
		return nil, fmt.Errorf("gossip: name %q is not a node's id", c.Name)
	}
	if c.Log == nil {
		c.Log = func(string) {}
	}
	if c.Alone == nil {
		c.Alone = func(string) {}
	}
	if c.Random == nil {
		c.Random = func() float64 { return 0 }
	}
	t, err := listen(c.Network, c.Bind, c.Advertise)
	if err != nil {
		return nil, err
	}
	cl := &Cluster{c: c, hints: make(chan []byte, maxHints), changed: make(chan struct{}, 1), resync: make(chan struct{}, 1), news: make(chan struct{}, 1), here: map[string]present{}, lost: map[string]string{}, heard: map[string]time.Time{},
		tell: &translator{tell: c.Log, last: map[string]time.Time{}}}
	m := memberlist.DefaultLANConfig()
	m.Name, m.Label, m.SecretKey, m.Transport = c.Name, c.Label, c.Key, t
	m.AdvertiseAddr, m.AdvertisePort = t.ip.String(), t.port
	m.BindPort = t.port
	cl.addr = net.JoinHostPort(t.ip.String(), strconv.Itoa(t.port))
	m.EnableCompression = false
	m.GossipInterval, m.GossipNodes, m.RetransmitMult = slowRound, slowTo, retransmit
	m.ProbeInterval, m.ProbeTimeout, m.SuspicionMult, m.SuspicionMaxTimeoutMult = probe, probeTimeout, suspicion, 1
	m.AwarenessMaxMultiplier = patience
	m.PushPullInterval = 30 * time.Second
	m.TCPTimeout = 5 * time.Second
	m.DeadNodeReclaimTime = 10 * time.Second // a host that comes back with another address
	m.DisableTcpPings = false
	m.RequireNodeNames = false
	m.Logger = log.New(cl.tell, "", 0)
	m.LogOutput = nil
	d := &delegate{cl}
	m.Delegate, m.Events, m.Alive, m.Conflict = d, d, d, d
	cl.queue = &memberlist.TransmitLimitedQueue{NumNodes: cl.size, RetransmitMult: retransmit}
	list, err := memberlist.Create(m)
	if err != nil {
		_ = t.Shutdown()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	cl.list.Store(list)
	var seek, hurry context.Context
	seek, cl.stop = context.WithCancel(context.Background())
	hurry, cl.quiet = context.WithCancel(context.Background())
	cl.loops.Go(func() { cl.seek(seek) })
	cl.loops.Go(func() { cl.hurry(hurry) })
	return cl, nil
}

// size is how many members there are.
func (c *Cluster) size() int {
	if list := c.list.Load(); list != nil {
		return max(list.NumMembers(), 1)
	}
	return 1
}

// Addr is where others reach this member, host:port.
func (c *Cluster) Addr() string { return c.addr }

// Members are all nodes that are there, this one included, by id.
func (c *Cluster) Members() []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Member, 0, len(c.here))
	for id, m := range c.here {
		out = append(out, Member{ID: id, Peer: m.peer})
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// peerAddress is where a member says its peer server is.
func peerAddress(n *memberlist.Node) string {
	host, port, err := net.SplitHostPort(string(n.Meta))
	if err != nil {
		return ""
	}
	if host == "" {
		host = n.Addr.String()
	}
	return net.JoinHostPort(host, port)
}

// Changed gets a value after members came, went or moved; many changes may share one.
func (c *Cluster) Changed() <-chan struct{} { return c.changed }

// Resync compares the lists of members with one of them soon, rather than when it is due: what gossip has missed is found.
func (c *Cluster) Resync() {
	wake(c.resync)
}

// wake raises a signal that may be up already.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// anyone is the address of some member but this one; empty where there is none.
func (c *Cluster) anyone() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for id, m := range c.here {
		if id != c.c.Name {
			all = append(all, m.addr)
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return all[int(c.c.Random()*float64(len(all)))]
}

// Hint tells all members something of at most MaxHint bytes; longer ones are dropped. It is heard by most within a second
// or two, and now and then by some not at all.
func (c *Cluster) Hint(b []byte) {
	if len(b) <= MaxHint && c.first(b) {
		c.queue.QueueBroadcast(hint(append([]byte(nil), b...)))
		wake(c.news)
	}
}

// first reports whether a hint was not heard within a minute. Who hears it first tells it on; of too many at once those
// that come late are dropped.
func (c *Cluster) first(b []byte) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.heard[string(b)]; ok && now.Sub(at) < hintMemory {
		return false
	}
	if len(c.heard) >= maxHeard {
		for h, at := range c.heard {
			if now.Sub(at) >= hintMemory {
				delete(c.heard, h)
			}
		}
		if len(c.heard) >= maxHeard {
			return false
		}
	}
	c.heard[string(b)] = now
	return true
}

// Hints gets what others hint. They are hostile until checked.
func (c *Cluster) Hints() <-chan []byte { return c.hints }

// Leave says goodbye, for as long as ctx allows, and closes everything.
func (c *Cluster) Leave(ctx context.Context) {
	c.stop()
	wait := 2 * time.Second
	if d, ok := ctx.Deadline(); ok {
		wait = max(time.Until(d), 0)
	}
	_ = c.list.Load().Leave(wait)
	c.close()
}

// Close ends without a word, as a crash would.
func (c *Cluster) Close() {
	c.stop()
	c.close()
}

func (c *Cluster) close() {
	c.quiet()
	_ = c.list.Load().Shutdown()
	c.loops.Wait()
}

// seek joins, and joins again whoever went: after a partition neither side would look for the other.
func (c *Cluster) seek(ctx context.Context) {
	wait := time.Duration(0)
	otherKey := false
	for turn := 0; ; turn++ {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-c.resync:
			t.Stop()
			if addr := c.anyone(); addr != "" {
				if _, err := c.list.Load().Join([]string{addr}); err != nil {
					c.tell.say("join "+addr, fmt.Sprintf("%s cannot be joined: %s", addr, cause(err)))
				}
			}
			wait = jitter(c.c, 5*time.Second)
			continue
		case <-t.C:
		}
		addr := c.missing(ctx, turn)
		if addr == "" {
			c.c.Alone("")
			wait = jitter(c.c, 10*time.Second)
			continue
		}
		if _, err := c.list.Load().Join([]string{addr}); err != nil {
			c.tell.say("join "+addr, fmt.Sprintf("%s cannot be joined: %s", addr, cause(err)))
			otherKey = otherKey || strings.Contains(err.Error(), "decrypt")
		}
		switch {
		case c.list.Load().NumMembers() > 1:
			otherKey = false
			c.c.Alone("")
		case turn+1 < len(c.c.Join): // others are asked first
		case otherKey:
			c.c.Alone("no other node is reached: who answers has another gossip key; gossip.keyFile must be the same file on all nodes")
		default:
			c.c.Alone("no other node is reached at the addresses of gossip.join")
		}
		wait = jitter(c.c, 5*time.Second)
		if c.list.Load().NumMembers() <= 1 && turn < 2*len(c.c.Join) {
			wait = jitter(c.c, time.Second)
		}
	}
}

// hurry tells what is new in quick rounds: members that came, went or moved, and hints. memberlist's own rounds are slow, so
// that a fleet in which nothing happens sleeps, and its clock cannot be set anew. But it adds what there is to tell to every
// ping and to every answer, so a few of the others are pinged in each round until everything was told as often as it is
// to be. What is not known here, as that somebody is suspected to be away, waits for the slow rounds.
func (c *Cluster) hurry(ctx context.Context) {
	var pings sync.WaitGroup
	defer pings.Wait()
	t := time.NewTimer(0)
	defer t.Stop()
	for rounds := 0; ; rounds-- {
		if rounds <= 0 {
			select {
			case <-ctx.Done():
				return
			case <-c.news:
				rounds = c.rounds()
			}
		}
		for _, m := range c.some(quickTo) {
			pings.Go(func() { _, _ = c.list.Load().Ping(m.id, m.addr) }) // an answer comes soon, or is not waited for
		}
		t.Reset(quickRound)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		select {
		case <-c.news:
			rounds = c.rounds() + 1
		default:
		}
	}
}

// rounds is how many quick rounds there are until all is told. Each thing is told this often by memberlist:
func (c *Cluster) rounds() int {
	times := retransmit * int(math.Ceil(math.Log10(float64(c.size()+1))))
	return (times+quickTo-1)/quickTo + 1 // some of them go to members that went
}

// some are members by chance, this one not among them.
func (c *Cluster) some(n int) []target {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []target
	seen := 0
	for id, m := range c.here {
		to, err := netip.ParseAddrPort(m.addr)
		if err != nil || id == c.c.Name {
			continue
		}
		t := target{id, net.UDPAddrFromAddrPort(to)}
		seen++
		if at := rand.IntN(seen); len(out) < n {
			out = append(out, t)
		} else if at < n {
			out[at] = t
		}
	}
	return out
}

// target is whom a ping goes to.
type target struct {
	id   string
	addr net.Addr
}

func jitter(c Config, d time.Duration) time.Duration {
	return d + time.Duration(c.Random()*float64(d/2))
}

// missing is an address to join: of the seeds that are no members and of members that went, one each turn.
func (c *Cluster) missing(ctx context.Context, turn int) string {
	here := map[string]bool{}
	c.mu.Lock()
	for _, m := range c.here {
		here[m.addr] = true
	}
	c.mu.Unlock()
	var out []string
	for _, seed := range c.c.Join {
		absent := true
		for _, addr := range resolve(ctx, seed) {
			absent = absent && !here[addr]
		}
		if absent {
			out = append(out, seed)
		}
	}
	gone := map[string]bool{} // for good
	c.mu.Lock()
	lost := slices.Collect(maps.Keys(c.lost))
	c.mu.Unlock()
	for _, id := range lost {
		gone[id] = c.c.Known != nil && !c.c.Known(id)
	}
	c.mu.Lock()
	for id, addr := range c.lost {
		if here[addr] || gone[id] {
			delete(c.lost, id)
		} else if len(out) < len(c.c.Join)+8 {
			out = append(out, addr)
		}
	}
	c.mu.Unlock()
	if len(out) == 0 {
		return ""
	}
	return out[turn%len(out)]
}

// resolve gives the addresses of host:port.
func resolve(ctx context.Context, addr string) []string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return []string{addr}
	}
	if net.ParseIP(host) != nil {
		return []string{addr}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return []string{addr}
	}
	var out []string
	for _, ip := range ips {
		out = append(out, net.JoinHostPort(ip, port))
	}
	return out
}

// isID reports whether s has the form of a node's id, see schema.NodeID.
func isID(s string) bool {
	return len(s) == 26 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// cause is the last line of what memberlist says, which has the cause.
func cause(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.TrimLeft(lines[len(lines)-1], "\t *")
}
