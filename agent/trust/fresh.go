package trust

import (
	"fmt"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Stale refuses new commits because nobody has said for too long which one is the newest: who holds back what is new, as
// who can only replay what was signed once, is found out so.
const Stale Kind = "stale"

// Fresh says whether the fleet's newest heartbeat, text, is as new as fleet.freshness asks; nil text is none. It fails
// with a *Refusal of head, and never where the fleet asks for none.
func Fresh(f schema.Fleet, text []byte, head string, now time.Time) error {
	if f.Freshness == "" {
		return nil
	}
	limit := f.Freshness.Std()
	refuse := func(format string, a ...any) error {
		return &Refusal{Commit: head, Kind: Stale, Reason: fmt.Sprintf(format, a...) +
			fmt.Sprintf(", and fleet.freshness is %s: nobody says that no newer commit is held back; let who has a role with paths: [] run dunlin trust heartbeat", f.Freshness)}
	}
	if len(text) == 0 {
		return refuse("there is no heartbeat")
	}
	h, err := ParseHeartbeat(text)
	if err == nil {
		_, err = h.By(f)
	}
	if err != nil {
		return refuse("the newest heartbeat does not count: %v", err)
	}
	at := h.When()
	if age := now.Sub(at); age > limit {
		return refuse("the newest heartbeat is of %s", h.Time)
	}
	if at.After(now.Add(MaxAhead)) {
		return refuse("the newest heartbeat is of %s, which is in the future of this host's clock", h.Time)
	}
	return nil
}

// When is the heartbeat's time; one that ParseHeartbeat took has one.
func (h Heartbeat) When() time.Time {
	t, err := time.Parse(time.RFC3339, h.Time)
	if err != nil {
		return time.Time{}
	}
	return t
}
