package load

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// pacer lets the collector rest while there is room: at a share of what is alive it runs twenty times while that is
// little, and little is won. Whoever evaluates calls pace now and then. A nil pacer leaves the collector alone.
type pacer struct {
	room uint64 // bytes that what is alive and what is garbage may have together

	mu      sync.Mutex
	percent int // as it was set last
}

// pace sets how much garbage there may be until the next call that finds another amount alive.
func (p *pacer) pace() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}} // as the last collection has found it
	metrics.Read(alive)
	if percent := p.garbage(alive[0].Value.Uint64()); percent != p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// garbage is how much of it there may be, in percent of what is alive: what fills the room, and never less than childGC.
func (p *pacer) garbage(alive uint64) int {
	const least = 4 << 20 // the runtime's own
	const most = 400      // what is alive may grow much before the next call
	alive = max(alive, least)
	if alive >= p.room {
		return childGC
	}
	return int(min(max(childGC, 100*(p.room-alive)/alive), most))
}
