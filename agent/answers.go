package agent

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/peer"
)

// What other nodes may ask of this one: so many answers at a time, of which so many for one of them, and one such node so
// many in a while.
const (
	maxAnswers   = 8
	answersOfOne = 2
	askBurst     = 60.0
	askRate      = 1.0 // a second
)

// answers keeps what peers ask in bounds, so that one of them costs little. The rest wait.
type answers struct {
	slots chan struct{}

	mu      sync.Mutex
	callers map[string]*caller
}

type caller struct {
	running int
	room    float64
	at      time.Time
}

func newAnswers() *answers {
	return &answers{slots: make(chan struct{}, maxAnswers), callers: map[string]*caller{}}
}

// limit lets h answer within bounds.
func (s *answers) limit(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := peer.Caller(r.Context())
		if !s.enter(id, time.Now()) {
			http.Error(w, "too many questions", http.StatusTooManyRequests)
			return
		}
		defer s.leave(id)
		if !s.wait(r.Context()) {
			return
		}
		defer func() { <-s.slots }()
		h.ServeHTTP(w, r)
	})
}

func (s *answers) wait(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// enter counts a question; it fails where one node asks too much.
func (s *answers) enter(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.callers[id]
	if c == nil {
		c = &caller{room: askBurst, at: now}
		s.callers[id] = c
	}
	c.room = min(askBurst, c.room+now.Sub(c.at).Seconds()*askRate)
	c.at = now
	if c.running >= answersOfOne || c.room < 1 {
		return false
	}
	c.running++
	c.room--
	return true
}

func (s *answers) leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.callers[id]; c != nil {
		c.running--
	}
	if len(s.callers) > 1024 {
		for id, c := range s.callers {
			if c.running == 0 && time.Since(c.at).Seconds()*askRate > askBurst {
				delete(s.callers, id)
			}
		}
	}
}
