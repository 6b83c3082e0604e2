package peer

import (
	"context"
	"net/http"
	"time"
)

// Limits of what one node may ask beside its stream. What an answer costs is more than what the question does.
const (
	maxCalls   = 8   // at a time
	callsBurst = 100 // at once, then so many a second for long
	callsRate  = 2.0
	callWithin = 3 * time.Minute // until an answer must have been read
)

// caller is what one node asks.
type caller struct {
	running int
	room    float64
	at      time.Time
}

// begin reports whether the node may ask one more thing now; who was allowed to calls end.
func (p *Peers) begin(id string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.callers[id]
	if c == nil {
		c = &caller{room: callsBurst, at: now}
		p.callers[id] = c
	}
	c.room = min(callsBurst, c.room+now.Sub(c.at).Seconds()*callsRate)
	c.at = now
	if c.running >= maxCalls || c.room < 1 {
		return false
	}
	c.running++
	c.room--
	return true
}

func (p *Peers) ended(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callers[id].running--
}

// forgetCallers drops the accounts of those that have not asked for long. The caller holds mu.
func (p *Peers) forgetCallers(now time.Time) {
	for id, c := range p.callers {
		if c.running == 0 && now.Sub(c.at).Seconds()*callsRate >= callsBurst {
			delete(p.callers, id)
		}
	}
}

// call answers what a node asks beside the streams. Who does not read the answer holds nothing for long.
func (p *Peers) call(w http.ResponseWriter, r *http.Request, id string) {
	if !p.begin(id, time.Now()) {
		p.log.printf("call of %q refused: it asks too much", clip(id))
		http.Error(w, "too many calls of one node", http.StatusTooManyRequests)
		return
	}
	defer p.ended(id)
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callerKey{}, id), callWithin)
	defer cancel()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(callWithin))
	if err := control.SetWriteDeadline(time.Now().Add(callWithin)); err != nil {
		http.Error(w, "no deadline can be set", http.StatusInternalServerError)
		return
	}
	p.config.Handler.ServeHTTP(w, r.WithContext(ctx))
}
