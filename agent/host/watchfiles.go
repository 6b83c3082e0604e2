package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// verifyTime is the time between two looks at whether all folders that there are are watched: an unmounted file
// system takes its watches with it and one that is mounted over a folder hides it, both without a word.
const verifyTime = time.Minute

// Events are taken in goes: until there was none for goGrace, for at most goTime. After goBurst goes, of which goRate a
// second do not count, each is followed by a rest of restTime, so that a file which is written all the time, and may
// only lie beside a managed one, keeps no host busy: what waits meanwhile is merged by the kernel, and taking what waits
// costs a twentieth of waking up for each event.
const (
	goTime   = time.Millisecond
	goGrace  = 300 * time.Microsecond
	goBurst  = 50
	goRate   = 10
	restTime = 100 * time.Millisecond
)

// fileWatch watches the folders of named files, and the folders above them, which may come, go and be exchanged.
// Files in one folder share one watch. Links to folders are not followed, as managed files are not below any.
type fileWatch struct {
	base    *folder
	folders map[string]*folder // by path
	tell    func(Drift)
	log     func(string)
	events  *fsnotify.Watcher // nil where there is none to be had
	// add is events.Add, which a test may refuse.
	add func(path string) error
	// who, where there is one, tells who changes the files of a folder.
	who interface {
		add(path string, files map[string]string)
		remove(path string)
	}
	// said is what was last told of folders that are not watched.
	said string
}

// folder is a folder of interest, whether it exists or not.
type folder struct {
	path  string
	files map[string]string // what to tell, by name
	below map[string]*folder
	// units is set in folders of unit links: a thing of any of these names is told of, and those of its folders that
	// hold links are watched.
	units map[string]string
	info  fs.FileInfo // of what is watched; nil for nothing
	err   error       // why nothing is watched though there is a folder
}

// newFileWatch watches nothing yet; no folder above base is looked at.
func newFileWatch(base string, h *hints, log func(string)) *fileWatch {
	w := &fileWatch{folders: map[string]*folder{}, tell: h.tell, log: log}
	w.base = w.folder(base, nil)
	return w
}

func (w *fileWatch) folder(path string, parent *folder) *folder {
	f := &folder{path: path, files: map[string]string{}, below: map[string]*folder{}}
	w.folders[path] = f
	if parent != nil {
		parent.below[filepath.Base(path)] = f
	}
	return f
}

// at is the folder of a path below base.
func (w *fileWatch) at(path string) *folder {
	f := w.base
	rel, err := filepath.Rel(w.base.path, path)
	if err != nil || rel == "." {
		return f
	}
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		next := f.below[part]
		if next == nil {
			next = w.folder(filepath.Join(f.path, part), f)
		}
		f = next
	}
	return f
}

// file adds a file, of which resource is told.
func (w *fileWatch) file(path, resource string) {
	path = filepath.Clean(path)
	w.at(filepath.Dir(path)).files[filepath.Base(path)] = resource
}

// unitLinks adds a folder of unit files and of links to them.
func (w *fileWatch) unitLinks(path string, units map[string]string) { w.at(path).units = units }

// open begins: what changes after it is told of by run. Without it, or where it finds nothing to watch with, run goes on trying.
func (w *fileWatch) open() {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		if errors.Is(err, syscall.EMFILE) {
			err = fmt.Errorf("%w: raise fs.inotify.max_user_instances or the limit of open files (sysctl, LimitNOFILE=)", err)
		}
		w.say(fmt.Sprintf("no file is watched, all are looked at once a minute: %v", err))
		return
	}
	w.events = events
	if w.add == nil {
		w.add = events.Add
	}
	w.look(w.base, false)
	w.complain()
}

// run tells of changes until ctx ends.
func (w *fileWatch) run(ctx context.Context) {
	verify, pause := time.NewTicker(verifyTime), time.NewTimer(time.Hour)
	defer verify.Stop()
	defer pause.Stop()
	var goes bucket
	defer func() {
		if w.events != nil {
			_ = w.events.Close()
		}
	}()
	for {
		var events chan fsnotify.Event
		var errs chan error
		if w.events != nil {
			events, errs = w.events.Events, w.events.Errors
		}
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			w.take(e, pause)
			if goes.full(time.Now()) {
				pause.Reset(restTime)
				select {
				case <-ctx.Done():
					return
				case <-pause.C:
				}
			}
		case err := <-errs:
			// The queue ran over, or something worse: what was lost is not known.
			w.log("changes of files were lost, the whole host is looked at: " + err.Error())
			w.verify()
			w.tell(Drift{})
		case <-verify.C:
			w.verify()
		}
	}
}

// bucket counts goes against goBurst and goRate.
type bucket struct {
	level float64
	at    time.Time
}

// full takes one in; it reports whether that was one too many.
func (b *bucket) full(now time.Time) bool {
	b.level = min(max(0, b.level-goRate*now.Sub(b.at).Seconds())+1, goBurst+1)
	b.at = now
	return b.level > goBurst
}

// take is one go, which begins with an event.
func (w *fileWatch) take(e fsnotify.Event, grace *time.Timer) {
	for start := time.Now(); ; {
		w.heard(e)
		if time.Since(start) > goTime {
			return
		}
		grace.Reset(goGrace)
		select {
		case e = <-w.events.Events:
		case <-grace.C:
			return
		}
	}
}

// heard takes one event.
func (w *fileWatch) heard(e fsnotify.Event) {
	if f := w.folders[e.Name]; f != nil && e.Op != fsnotify.Chmod {
		// A folder came or went, or another took its place.
		w.forget(f)
		if w.look(f, true); f.info == nil {
			w.all(f)
		}
		w.complain()
	}
	parent, name := w.folders[filepath.Dir(e.Name)], filepath.Base(e.Name)
	if parent == nil {
		return
	}
	if r, ok := parent.files[name]; ok {
		w.tell(Drift{Resource: r})
	}
	if parent.units == nil {
		return
	}
	if r, ok := parent.units[name]; ok {
		w.tell(Drift{Resource: r})
	}
	if parent.below[name] == nil && holdsLinks(name) {
		w.folder(e.Name, parent).units = parent.units
		w.look(parent.below[name], true)
		w.complain()
	}
}

// holdsLinks reports whether a folder of this name holds links of other units.
func holdsLinks(name string) bool {
	return strings.HasSuffix(name, ".wants") || strings.HasSuffix(name, ".requires")
}

// look makes sure that f and all below it that exist are watched. With tell it tells of what is in folders that came
// or went.
func (w *fileWatch) look(f *folder, tell bool) {
	was := f.info != nil
	fresh := w.watch(f)
	if f.info == nil && f.err == nil {
		if tell && was {
			w.all(f)
		}
		return
	}
	if f.units != nil {
		w.lookForLinks(f)
	}
	if fresh && tell {
		w.all(f)
		tell = false
	}
	for _, b := range f.below {
		w.look(b, tell)
	}
}

// lookForLinks finds the folders of links in f.
func (w *fileWatch) lookForLinks(f *folder) {
	list, err := os.ReadDir(f.path)
	if err != nil {
		return
	}
	for _, e := range list {
		if f.below[e.Name()] == nil && holdsLinks(e.Name()) {
			w.folder(filepath.Join(f.path, e.Name()), f).units = f.units
		}
	}
}

// watch makes sure that f itself is watched if it is a folder; f.info is nil afterwards where it is not. fresh is that
// it was not watched before, or that another folder was.
func (w *fileWatch) watch(f *folder) (fresh bool) {
	for range 3 { // it may be exchanged under our hands
		info, err := os.Lstat(f.path)
		if err != nil || !info.IsDir() {
			w.forget(f)
			return false
		}
		if f.info != nil && os.SameFile(f.info, info) {
			return fresh
		}
		if f.info != nil {
			w.forget(f)
		}
		if w.events == nil {
			return false
		}
		if f.err = w.add(f.path); f.err != nil {
			if errors.Is(f.err, fs.ErrNotExist) {
				f.err = nil
				continue
			}
			return false
		}
		f.info, fresh = info, true
		if w.who != nil && len(f.files) > 0 {
			w.who.add(f.path, f.files)
		}
	}
	return fresh
}

// forget ends the watches of f and of all below, whatever became of the folders.
func (w *fileWatch) forget(f *folder) {
	if f.info != nil {
		_ = w.events.Remove(f.path) // it may have ended by itself
		if w.who != nil {
			w.who.remove(f.path)
		}
	}
	f.info, f.err = nil, nil
	for _, b := range f.below {
		w.forget(b)
	}
}

// all tells of everything at f and below.
func (w *fileWatch) all(f *folder) {
	for _, r := range f.files {
		w.tell(Drift{Resource: r})
	}
	for _, r := range f.units {
		w.tell(Drift{Resource: r})
	}
	for _, b := range f.below {
		w.all(b)
	}
}

// verify finds folders that are not watched any more, and tries those again that could not be.
func (w *fileWatch) verify() {
	if w.events == nil {
		if w.open(); w.events != nil {
			w.tell(Drift{})
		}
		return
	}
	watched := map[string]bool{}
	for _, path := range w.events.WatchList() {
		watched[path] = true
	}
	for _, f := range w.folders {
		if f.info != nil && !watched[f.path] {
			f.info = nil // not forgotten: there is nothing to end
		}
	}
	w.look(w.base, true)
	w.complain()
}

// complain tells which folders are not watched, once for each state.
func (w *fileWatch) complain() {
	var failed []string
	var why error
	for path, f := range w.folders {
		if f.err != nil {
			failed = append(failed, path)
		}
	}
	if len(failed) == 0 {
		if w.said != "" {
			w.say("all folders are watched again")
			w.said = ""
		}
		return
	}
	slices.Sort(failed)
	why = w.folders[failed[0]].err
	if errors.Is(why, syscall.ENOSPC) {
		why = errors.New("this host's number of watches is used up: raise fs.inotify.max_user_watches (sysctl)")
	}
	more := ""
	if n := len(failed) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	w.say(fmt.Sprintf("folder %q%s cannot be watched, what is in it is looked at once a minute: %v", failed[0], more, why))
}

func (w *fileWatch) say(text string) {
	if text != w.said {
		w.log(text)
	}
	w.said = text
}
