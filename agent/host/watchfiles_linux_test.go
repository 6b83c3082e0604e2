package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// heardIn is how long a test waits for what it must hear; what comes at once ends it at once.
const heardIn = 10 * time.Second

// listener hears the hints of a watch.
type listener struct {
	t    testing.TB
	lots <-chan []Drift
}

// hears waits until all of these were told, and gives all that was.
func (l listener) hears(want ...string) map[string]string {
	l.t.Helper()
	got := map[string]string{}
	missing := slices.Clone(want)
	late := time.After(heardIn)
	for len(missing) > 0 {
		select {
		case lot, open := <-l.lots:
			if !open {
				l.t.Fatalf("the watch ended; heard %v", got)
			}
			for _, d := range lot {
				got[d.Resource] = d.Who
				missing = slices.DeleteFunc(missing, func(r string) bool { return r == d.Resource })
			}
		case <-late:
			l.t.Fatalf("heard %v, and not %v", got, missing)
		}
	}
	return got
}

// hearsOnly is hears, and nothing else may have been told.
func (l listener) hearsOnly(want ...string) {
	l.t.Helper()
	if got := slices.Sorted(maps.Keys(l.hears(want...))); !slices.Equal(got, want) {
		l.t.Errorf("heard %q, want only %q", got, want)
	}
}

// rest drops what is told of one change, up to the change of a file that is made now.
func (l listener) rest(file string) {
	l.t.Helper()
	put(l.t, file, time.Now().String(), 0o644)
	l.hears(driftFiles + file)
}

// watchOf begins a watch that ends with the test.
func watchOf(t testing.TB, s interface {
	Watch(context.Context, Watched) (<-chan []Drift, error)
}, w Watched) listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	lots, err := s.Watch(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		late := time.After(heardIn)
		for {
			select {
			case _, open := <-lots:
				if !open {
					return
				}
			case <-late:
				t.Error("the watch goes on after its context ended")
				return
			}
		}
	})
	return listener{t, lots}
}

// filesWatch watches files below a folder of its own; the names are relative to it. The last one is for rest.
func filesWatch(t *testing.T, names ...string) (dir string, l listener) {
	t.Helper()
	dir = t.TempDir()
	h := newHints()
	w := newFileWatch(dir, h, func(text string) { t.Error("complained: " + text) })
	for _, n := range names {
		w.file(filepath.Join(dir, n), driftFiles+filepath.Join(dir, n))
	}
	return dir, startFiles(t, h, w)
}

func startFiles(t *testing.T, h *hints, w *fileWatch) listener {
	t.Helper()
	w.open()
	return startedFiles(t, h, w)
}

func startedFiles(t *testing.T, h *hints, w *fileWatch) listener {
	ctx, cancel := context.WithCancel(t.Context())
	lots := h.start(ctx, w.run)
	t.Cleanup(func() {
		cancel()
		for range lots {
		}
	})
	return listener{t, lots}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhateverChangesAFileIsHeard(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, dir string) // not heard
		change func(t *testing.T, dir string)
	}{
		{"written", nil, func(t *testing.T, dir string) {
			f, err := os.OpenFile(dir+"/etc/motd", os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("x")
			must(t, errors.Join(err, f.Close()))
		}},
		{"replaced by rename", nil, func(t *testing.T, dir string) {
			must(t, os.WriteFile(dir+"/etc/.motd.tmp", nil, 0o644))
			must(t, os.Rename(dir+"/etc/.motd.tmp", dir+"/etc/motd"))
		}},
		{"replaced from another folder", nil, func(t *testing.T, dir string) {
			must(t, os.WriteFile(dir+"/elsewhere", nil, 0o644))
			must(t, os.Rename(dir+"/elsewhere", dir+"/etc/motd"))
		}},
		{"removed", nil, func(t *testing.T, dir string) { must(t, os.Remove(dir+"/etc/motd")) }},
		{"renamed away", nil, func(t *testing.T, dir string) { must(t, os.Rename(dir+"/etc/motd", dir+"/etc/motd.old")) }},
		{"made", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/etc/motd")) }, func(t *testing.T, dir string) {
			must(t, os.WriteFile(dir+"/etc/motd", nil, 0o644))
		}},
		{"mode changed", nil, func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/etc/motd", 0o600)) }},
		{"owner changed", nil, func(t *testing.T, dir string) { must(t, os.Chown(dir+"/etc/motd", 1, 1)) }},
		{"exchanged for a link", nil, func(t *testing.T, dir string) {
			must(t, os.Remove(dir+"/etc/motd"))
			must(t, os.Symlink("/etc/hostname", dir+"/etc/motd"))
		}},
		{"its folder removed", nil, func(t *testing.T, dir string) { must(t, os.RemoveAll(dir+"/etc")) }},
		{"its folder renamed away", nil, func(t *testing.T, dir string) { must(t, os.Rename(dir+"/etc", dir+"/etc.old")) }},
		{"its folder made again", func(t *testing.T, dir string) { must(t, os.RemoveAll(dir+"/etc")) }, func(t *testing.T, dir string) {
			put(t, dir+"/etc/motd", "new", 0o644)
		}},
		{"written after its folder was made again", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir+"/etc"))
			put(t, dir+"/etc/motd", "new", 0o644)
		}, func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/etc/motd", nil, 0o644)) }},
		{"written after its folder went and came back", func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/etc", dir+"/etc.old"))
			must(t, os.Rename(dir+"/etc.old", dir+"/etc"))
		}, func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/etc/motd", nil, 0o644)) }},
		{"written after another folder took the place of its own", func(t *testing.T, dir string) {
			put(t, dir+"/new/motd", "new", 0o644)
			must(t, os.Rename(dir+"/etc", dir+"/old"))
			must(t, os.Rename(dir+"/new", dir+"/etc"))
		}, func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/etc/motd", nil, 0o644)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needRoot(t)
			dir := t.TempDir()
			put(t, dir+"/etc/motd", "old", 0o644)
			h := newHints()
			w := newFileWatch(dir, h, func(text string) { t.Error("complained: " + text) })
			motd, other := driftFiles+"/etc/motd", driftFiles+dir+"/other"
			w.file(dir+"/etc/motd", motd)
			w.file(dir+"/other", other)
			l := startFiles(t, h, w)
			if tt.before != nil {
				tt.before(t, dir)
				l.rest(dir + "/other")
			}
			tt.change(t, dir)
			l.hears(motd)
		})
	}
}

func TestFoldersThatDoNotExistYetAreWatchedWhenTheyCome(t *testing.T) {
	dir, l := filesWatch(t, "a/b/c/file", "a/x", "other")
	file := dir + "/a/b/c/file"
	put(t, file, "1", 0o644)
	l.hears(driftFiles + file)
	l.rest(dir + "/other")
	put(t, file, "2", 0o644)
	l.hears(driftFiles + file)
	// A folder far above is exchanged, and what is deep in the new one is watched.
	put(t, dir+"/new/b/c/file", "3", 0o644)
	must(t, os.Rename(dir+"/a", dir+"/gone"))
	must(t, os.Rename(dir+"/new", dir+"/a"))
	l.hears(driftFiles+file, driftFiles+dir+"/a/x")
	l.rest(dir + "/other")
	must(t, os.Chmod(file, 0o600))
	l.hearsOnly(driftFiles + file)
	// A file in the way of a folder is none.
	must(t, os.RemoveAll(dir+"/a"))
	put(t, dir+"/a", "a file", 0o644)
	l.hears(driftFiles + file)
	must(t, os.Remove(dir+"/a"))
	put(t, file, "4", 0o644)
	l.hears(driftFiles + file)
}

func TestWhatIsNotWatchedIsNotHeard(t *testing.T) {
	dir, l := filesWatch(t, "etc/motd", "etc/issue", "other")
	put(t, dir+"/etc/passwd", "x", 0o644)
	put(t, dir+"/etc/motd.d/motd", "x", 0o644)
	l.rest(dir + "/other")
	put(t, dir+"/etc/shadow", "x", 0o600)
	must(t, os.Chmod(dir+"/etc", 0o700))
	put(t, dir+"/etc/motd.d/issue", "x", 0o644)
	put(t, dir+"/etc/issue", "x", 0o644)
	l.hearsOnly(driftFiles + dir + "/etc/issue")
}

func TestALinkToAFolderIsNotFollowed(t *testing.T) {
	dir, l := filesWatch(t, "link/file", "other")
	must(t, os.Mkdir(dir+"/real", 0o755))
	must(t, os.Symlink("real", dir+"/link"))
	l.hears(driftFiles + dir + "/link/file") // that something is there now
	l.rest(dir + "/other")
	put(t, dir+"/real/file", "x", 0o644)
	put(t, dir+"/other", "x", 0o644)
	l.hearsOnly(driftFiles + dir + "/other")
}

func TestManyFilesInAFolderShareOneWatch(t *testing.T) {
	h, dir := newHints(), t.TempDir()
	must(t, os.Mkdir(dir+"/etc", 0o755))
	w := newFileWatch(dir, h, func(text string) { t.Error(text) })
	var all []string
	for i := range 200 {
		all = append(all, fmt.Sprint("file:", i))
		w.file(fmt.Sprintf("%s/etc/%d", dir, i), all[i])
	}
	l := startFiles(t, h, w)
	if n := len(w.events.WatchList()); n != 2 {
		t.Errorf("%d watches, want two", n)
	}
	for i := range all {
		must(t, os.WriteFile(fmt.Sprintf("%s/etc/%d", dir, i), nil, 0o644))
	}
	l.hears(all...)
}

func TestAQueueThatRanOverMeansEverything(t *testing.T) {
	h, dir := newHints(), t.TempDir()
	var said []string
	w := newFileWatch(dir, h, func(text string) { said = append(said, text) })
	w.file(dir+"/sub/file", "file:/sub/file")
	w.open()
	// Nobody reads, and the kernel queues 16,384 unless it is told to queue more.
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	var queued int
	_, err = fmt.Sscan(string(b), &queued)
	must(t, err)
	for i := range queued {
		must(t, os.WriteFile(fmt.Sprintf("%s/%d", dir, i%50), nil, 0o644))
		must(t, os.Chmod(fmt.Sprintf("%s/%d", dir, i%50), 0o600))
	}
	put(t, dir+"/sub/file", "made while nothing more could be queued", 0o644)
	ctx, cancel := context.WithCancel(t.Context())
	lots := h.start(ctx, w.run)
	listener{t, lots}.hears("")
	// The folder that was made is watched all the same.
	must(t, os.Chmod(dir+"/sub/file", 0o600))
	listener{t, lots}.hears("file:/sub/file")
	cancel()
	for range lots {
	}
	if len(said) == 0 || !strings.Contains(said[0], "changes of files were lost") {
		t.Errorf("said %q", said)
	}
}

func TestFoldersBeyondTheLimitAreNamedAndTheOthersWatched(t *testing.T) {
	h, dir := newHints(), t.TempDir()
	var said []string
	w := newFileWatch(dir, h, func(text string) { said = append(said, text) })
	for i := range 5 {
		must(t, os.Mkdir(fmt.Sprintf("%s/%d", dir, i), 0o755))
		w.file(fmt.Sprintf("%s/%d/file", dir, i), fmt.Sprint("file:", i))
	}
	full := map[string]bool{dir + "/1": true, dir + "/3": true}
	w.add = func(path string) error {
		if full[path] {
			return syscall.ENOSPC
		}
		return w.events.Add(path)
	}
	w.open()
	want := fmt.Sprintf("folder %q and 1 more cannot be watched, what is in it is looked at once a minute: this host's number of watches is used up: raise fs.inotify.max_user_watches (sysctl)", dir+"/1")
	if !slices.Equal(said, []string{want}) {
		t.Errorf("said %q, want %q", said, want)
	}
	w.verify()
	if len(said) != 1 {
		t.Errorf("said %q again", said[1:])
	}
	delete(full, dir+"/1")
	w.verify()
	if len(said) != 2 || !strings.HasPrefix(said[1], fmt.Sprintf("folder %q cannot be watched", dir+"/3")) {
		t.Errorf("said %q, want that 3 is left", said)
	}
	delete(full, dir+"/3")
	w.verify()
	if len(said) != 3 || said[2] != "all folders are watched again" {
		t.Errorf("said %q, want that all is well", said)
	}
	l := startedFiles(t, h, w)
	for i := range 5 {
		put(t, fmt.Sprintf("%s/%d/file", dir, i), "x", 0o644)
	}
	l.hears("file:0", "file:1", "file:2", "file:3", "file:4")
}

func TestWatchesThatEndedWithoutAWordAreFound(t *testing.T) {
	needRoot(t)
	h, dir := newHints(), t.TempDir()
	must(t, os.Mkdir(dir+"/data", 0o755))
	w := newFileWatch(dir, h, func(text string) { t.Error(text) })
	w.file(dir+"/data/file", "file:data")
	w.open()
	must(t, syscall.Mount("none", dir+"/data", "tmpfs", 0, ""))
	t.Cleanup(func() { _ = syscall.Unmount(dir+"/data", syscall.MNT_DETACH) })
	w.verify()
	l := startedFiles(t, h, w)
	l.hears("file:data")
	put(t, dir+"/data/file", "on the new file system", 0o644)
	l.hears("file:data")
}

func TestUnitLinksAreHeard(t *testing.T) {
	h, dir := newHints(), t.TempDir()
	must(t, os.MkdirAll(dir+"/system/multi-user.target.wants", 0o755))
	w := newFileWatch(dir, h, func(text string) { t.Error(text) })
	w.unitLinks(dir+"/system", map[string]string{"nginx.service": "service:nginx"})
	w.file(dir+"/other", driftFiles+dir+"/other")
	l := startFiles(t, h, w)
	link := dir + "/system/multi-user.target.wants/nginx.service"
	for _, step := range []func() error{
		func() error { return os.Symlink("/lib/systemd/system/nginx.service", link) },
		func() error { return os.Remove(link) },
		func() error { return os.Symlink("/dev/null", dir+"/system/nginx.service") },
		func() error { return os.MkdirAll(dir+"/system/new.target.requires", 0o755) },
		func() error {
			return os.Symlink("/lib/systemd/system/nginx.service", dir+"/system/new.target.requires/nginx.service")
		},
	} {
		l.rest(dir + "/other")
		must(t, step())
		l.hears("service:nginx")
	}
	l.rest(dir + "/other")
	must(t, os.Symlink("x", dir+"/system/multi-user.target.wants/ssh.service"))
	put(t, dir+"/other", "x", 0o644)
	l.hearsOnly(driftFiles + dir + "/other")
}

func TestASimulatedHostIsWatched(t *testing.T) {
	s := Simulated{Dir: filepath.Join(t.TempDir(), "host")}
	must(t, os.MkdirAll(s.Root()+"/etc", 0o755))
	l := watchOf(t, s, Watched{Files: []string{"/etc/motd", "/etc/issue"}, Units: []string{"nginx"}, Ports: true, Packages: true})
	for _, tt := range []struct {
		change func() error
		want   string
	}{
		{func() error { return os.WriteFile(s.Root()+"/etc/motd", nil, 0o644) }, "file:/etc/motd"},
		{func() error { return s.saveState(attributesFile, map[string]string{}) }, driftFiles},
		{func() error { return s.saveState(portsFile, map[string]string{}) }, driftPorts},
		{func() error { return s.saveState(servicesFile, map[string]string{}) }, driftUnits},
		{func() error { return s.SetArchive(SimulatedArchive{}) }, driftPackages},
	} {
		must(t, tt.change())
		l.hears(tt.want)
	}
}

// dpkg writes its database anew beside the old one, and exchanges them.
func TestAnExchangeOfThePackageDatabaseIsHeard(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{dpkgStatus, aptStates} {
		must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		put(t, filepath.Join(root, name), "", 0o644)
	}
	s := NewSystem()
	s.Root = root
	l := watchOf(t, s, Watched{Packages: true, Log: func(text string) { t.Error("complained: " + text) }})
	for _, name := range []string{dpkgStatus, aptStates} {
		path := filepath.Join(root, name)
		put(t, path+"-new", "Package: hello\n", 0o644)
		must(t, os.Rename(path+"-new", path))
		l.hearsOnly(driftPackages)
	}
}
