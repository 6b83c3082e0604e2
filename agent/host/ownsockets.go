package host

import (
	"sync"
	"time"
)

// ownSockets are the netlink addresses that this program lately changed the firewall from: the kernel names in each
// event the one that the change came from. Copies of a System share theirs.
type ownSockets struct {
	mu    sync.Mutex
	ports map[uint32]time.Time
}

// ownMemory is how long the address of a socket is remembered: its events come at once, and another may get it later.
const ownMemory = time.Minute

func (o *ownSockets) add(port uint32) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for p, at := range o.ports {
		if now.Sub(at) > ownMemory {
			delete(o.ports, p)
		}
	}
	if o.ports == nil {
		o.ports = map[uint32]time.Time{}
	}
	o.ports[port] = now
}

func (o *ownSockets) has(port uint32) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	at, ok := o.ports[port]
	return ok && time.Since(at) <= ownMemory
}
