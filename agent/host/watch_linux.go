package host

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// NewSystem is the machine that the program runs on; what it changes of the firewall its own Watch does not tell of.
func NewSystem() System { return System{own: &ownSockets{}} }

// Watch tells what may have changed on the host until ctx ends, then it closes the channel: files and the package
// database by their folders, the firewall by the kernel's own word, which has the name of who did it, units by
// systemd's signals and by the folders of their links. What happens after it returns is told, and much that did not
// happen may be. Whatever cannot be watched is told to w.Log, tried again, and does not keep the rest from being watched.
func (s System) Watch(ctx context.Context, w Watched) (<-chan []Drift, error) {
	root := "/"
	if s.Root != "" {
		var err error
		if root, err = filepath.EvalSymlinks(s.Root); err != nil {
			return nil, fmt.Errorf("watch host: %w", err)
		}
	}
	h, log := newHints(), w.logger()
	var watchers []func(context.Context)

	files := newFileWatch(root, h, log)
	for _, f := range w.Files {
		files.file(filepath.Join(root, f), driftFiles+f)
	}
	if w.Packages {
		for _, f := range []string{dpkgStatus, aptStates} {
			files.file(filepath.Join(root, f), driftPackages)
		}
	}
	if len(w.Units) > 0 {
		for _, dir := range []string{unitLinks, "/run/systemd/system"} {
			files.unitLinks(filepath.Join(root, dir), unitsWatched(w))
		}
	}
	if len(files.folders) > 1 {
		if who := newFileWho(h); who != nil {
			files.who = who
			watchers = append(watchers, who.run)
		}
		files.open()
		watchers = append(watchers, files.run)
	}

	if w.Ports {
		ports := newPortWatch(h, log, s.own)
		_ = ports.open() // run tries again, and tells why
		watchers = append(watchers, ports.run)
	}
	if len(w.Units) > 0 {
		watchers = append(watchers, newUnitWatch(h, log, unitsWatched(w)).run)
	}
	return h.start(ctx, watchers...), nil
}

// retryLeast and retryMost bound the time until a watcher that lost what it listens to tries again.
const (
	retryLeast = 100 * time.Millisecond
	retryMost  = 30 * time.Second
)

// line is the state of a connection that a watcher listens to.
type line struct {
	log   func(string)
	what  string
	said  string // why it is down, as it was told
	since time.Time
	pause time.Duration
}

// up notes that it stands.
func (l *line) up() {
	l.since = time.Now()
	if l.said != "" {
		l.log("changes of " + l.what + " are told at once again")
		l.said = ""
	}
}

// down tells that it does not, once, and waits longer each time until it is to be tried again. It is false when ctx ends.
func (l *line) down(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	// One that stood for a while starts anew; one that falls at once does not.
	if !l.since.IsZero() && time.Since(l.since) > retryMost {
		l.pause = 0
	}
	l.since = time.Time{}
	l.pause = min(max(2*l.pause, retryLeast), retryMost)
	text := fmt.Sprintf("changes of %s are found by looking once a minute: %v", l.what, err)
	if text != l.said && l.pause > retryLeast {
		// What is back at the first try is not worth a word.
		l.log(text)
		l.said = text
	}
	t := time.NewTimer(l.pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
