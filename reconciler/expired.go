package reconciler

import (
	"fmt"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/schedule"
	"github.com/dunlin-dev/dunlin/schema"
)

// maxActivation is how far ahead an activation may expire (SSM §1.2).
const maxActivation = 30 * 24 * time.Hour

// Expired tells what of a valid repository has no effect any more at an instant, or not as its authors may think:
// exceptions and parameters whose time is over, parameters that go soon or are old, windows that do not open again, activations that last too long.
func Expired(repo schema.Repo, now time.Time) []schema.Fault {
	var out []schema.Fault
	warn := func(message string, path ...string) {
		p := schema.JoinPath(path...)
		out = append(out, warning(repo.Positions[p], p, message))
	}
	for name, e := range repo.Exceptions {
		if !now.Before(e.Until) {
			warn(e.Until.Format(time.RFC3339)+" has passed: it excuses nothing any more; take it out", "exception", name, "until")
		}
	}
	for _, d := range Due(repo, now) {
		at := d.At.UTC().Format(time.RFC3339)
		switch d.What {
		case schema.ParameterExpired:
			warn(at+" has passed: nobody can read it any more", "parameter", d.Parameter, "policies", "expires")
		case schema.ParameterExpires:
			warn("it expires at "+at+", which is sooner than notifyBefore", "parameter", d.Parameter, "policies", "expires")
		case schema.ParameterUnchanged:
			after := repo.Parameters[d.Parameter].Policies.NoChangeNotifyAfter
			warn(fmt.Sprintf("not changed for more than %s, which noChangeNotifyAfter says", after), "parameter", d.Parameter, "versions", d.Version, "created")
		}
	}
	for name, a := range repo.Activations {
		if a.Expires.Sub(now) > maxActivation {
			warn(a.Expires.Format(time.RFC3339)+" is more than 30 days ahead, the most that an activation lasts", "activation", name, "expires")
		}
	}
	for name, w := range repo.Windows {
		once := strings.HasPrefix(w.Schedule, "at(")
		if !w.Enabled || w.End == nil && !once {
			continue
		}
		s, err := schedule.FromWindow(w)
		if err != nil {
			continue // the loader has said so
		}
		if _, open := s.At(now); open {
			continue
		}
		switch _, again := s.NextOpening(now); {
		case again:
		case w.End != nil:
			warn(fmt.Sprintf("it does not open any more: no start of %s is left before that", w.Schedule), "window", name, "end")
		default:
			warn(w.Schedule+" has passed: it does not open any more", "window", name, "schedule")
		}
	}
	return schema.SortFaults(out)
}
