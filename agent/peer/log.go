package peer

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// thinned passes lines on: a burst, then one each few seconds with the number of those left out. Whoever reaches the
// port can cause lines.
type thinned struct {
	to func(string)

	mu   sync.Mutex
	room float64
	at   time.Time
	left int
}

const (
	burst      = 20
	everySoFar = 5 * time.Second
)

func (t *thinned) printf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	t.mu.Lock()
	now := time.Now()
	if t.at.IsZero() {
		t.room = burst
	} else {
		t.room = min(burst, t.room+float64(now.Sub(t.at))/float64(everySoFar))
	}
	t.at = now
	if t.room < 1 {
		t.left++
		t.mu.Unlock()
		return
	}
	t.room--
	if t.left > 0 {
		line += fmt.Sprintf(" (%d lines before it left out)", t.left)
		t.left = 0
	}
	t.mu.Unlock()
	t.to(line)
}

// Write takes the lines of the HTTP server: handshakes that failed, mostly.
func (t *thinned) Write(b []byte) (int, error) {
	line := strings.TrimPrefix(strings.TrimSpace(string(b)), "http: ")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, line)
	t.printf("%s", line[:min(len(line), 500)])
	return len(b), nil
}

// clip shortens a text of somebody else.
func clip(s string) string { return s[:min(len(s), 64)] }
