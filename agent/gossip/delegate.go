package gossip

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// hint is a broadcast that replaces no other.
type hint []byte

func (h hint) Invalidates(memberlist.Broadcast) bool { return false }
func (h hint) Message() []byte                       { return h }
func (h hint) Finished()                             {}

// delegate is what memberlist asks and tells.
type delegate struct{ c *Cluster }

// NodeMeta is what this member says of itself: where it is, signed.
func (d *delegate) NodeMeta(limit int) []byte {
	if own := d.c.own.Load(); own != nil && len(*own) <= limit {
		return *own
	}
	return nil
}

// NotifyMsg takes a hint; it must not block.
func (d *delegate) NotifyMsg(b []byte) {
	if len(b) > MaxHint || !d.c.first(b) {
		return
	}
	b = append([]byte(nil), b...)
	d.c.queue.QueueBroadcast(hint(b)) // memberlist sends a broadcast of its user only one hop
	wake(d.c.news)
	for {
		select {
		case d.c.hints <- b:
			return
		default:
		}
		select {
		case <-d.c.hints: // the oldest
		default:
		}
	}
}

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.c.queue.GetBroadcasts(overhead, limit)
}
func (d *delegate) LocalState(bool) []byte        { return nil }
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyAlive refuses members that are not in the roster, and those that are not where they have signed that they are.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	if n.Name == d.c.c.Name {
		d.twin(n)
		return nil // memberlist says the truth where somebody else says something else
	}
	if !isID(n.Name) {
		return fmt.Errorf("%q is not a node's id", n.Name)
	}
	if _, ok := d.c.c.Keys(n.Name); !ok {
		d.c.count.unknown.Add(1)
		d.c.tell.say("unknown", fmt.Sprintf("a member that is not in the roster is left out: %s at %s", n.Name, n.Address()))
		return fmt.Errorf("%s is not in the roster", n.Name)
	}
	// Others would find no common version with it, nor with whoever has heard of it.
	if own := d.c.versions; own != [6]uint8{n.PMin, n.PMax, n.PCur, n.DMin, n.DMax, n.DCur} {
		return fmt.Errorf("%s speaks another version", n.Name)
	}
	addr, ok := addrPort(n.Addr, uint64(n.Port))
	if !ok {
		return fmt.Errorf("%s has no address", n.Name)
	}
	moved, err := d.c.claims.told(n.Name, addr, n.Meta, time.Now())
	if err != nil {
		d.c.count.claims.Add(1)
		d.c.tell.say("claim "+n.Name, fmt.Sprintf("an address of node %s that it has not signed is not believed: %s", n.Name, addr))
		return err
	}
	if moved {
		wake(d.c.changed)
	}
	return nil
}

// twin looks at what others say of this member itself, and that it has not said.
func (d *delegate) twin(n *memberlist.Node) {
	own, now := d.c.own.Load(), time.Now()
	if d.c.c.Twin == nil || own == nil || bytes.Equal(*own, n.Meta) {
		return
	}
	key, listed := d.c.c.Keys(n.Name)
	r, at, err := readClaim(n.Name, n.Meta)
	if err != nil || !listed {
		return
	}
	d.c.mu.Lock()
	due := now.Sub(d.c.twinAt) >= twinEvery
	if due {
		d.c.twinAt = now // before the signature is looked at, which costs something
	}
	d.c.mu.Unlock()
	if due && r.Verify(key) == nil {
		d.c.c.Twin(at.Peer)
	}
}

// NotifyConflict tells people that two addresses claim one name. It proves nothing: a host that moved looks the same, and
// anyone with the key can say so of any node.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.c.tell.say("conflict "+existing.Name, fmt.Sprintf("two addresses claim node %s: %s and %s", existing.Name, existing.Address(), other.Address()))
}

func (d *delegate) NotifyJoin(n *memberlist.Node)   { d.note(n, true) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.note(n, true) }
func (d *delegate) NotifyLeave(n *memberlist.Node)  { d.note(n, false) }

// note keeps what memberlist tells while it holds its lock; nothing of memberlist may be asked here. It does not say whether
// a member died or said goodbye, and whoever told it so may lie.
func (d *delegate) note(n *memberlist.Node, here bool) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	d.c.told[n.Name] = here
	switch {
	case n.Name == d.c.c.Name:
		d.c.here[n.Name] = here
	case here && !d.c.lost[n.Name]:
		d.c.here[n.Name] = true
	default:
		d.c.doubt(n.Name)
		return
	}
	wake(d.c.changed)
	wake(d.c.news)
}

// translator tells of memberlist's log what a person can act on, each at most once a minute.
type translator struct {
	tell func(string)

	mu   sync.Mutex
	last map[string]time.Time
}

// lines are parts of memberlist's log lines in small letters, and what they mean.
var lines = []struct{ part, text string }{
	{"crypt", "a message cannot be decrypted: its sender has another gossip key, or none"},
	{"unacceptable label", "a message with another cluster's label was refused"},
}

// Write takes one line.
func (t *translator) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	for _, l := range lines {
		if strings.Contains(strings.ToLower(line), l.part) {
			from := ""
			if at := strings.LastIndex(line, "from="); at >= 0 {
				from = " (" + line[at+5:] + ")"
			}
			t.say(l.text, l.text+from)
			break
		}
	}
	return len(b), nil
}

// say tells text unless something with the same key was told within a minute.
func (t *translator) say(key, text string) {
	t.mu.Lock()
	quiet := time.Since(t.last[key]) < time.Minute
	if !quiet {
		if len(t.last) > 256 {
			clear(t.last)
		}
		t.last[key] = time.Now()
	}
	t.mu.Unlock()
	if !quiet {
		t.tell(text)
	}
}
