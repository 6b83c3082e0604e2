package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	defaultLockTimeout = 10 * time.Minute
	defaultKillGrace   = 30 * time.Second
	// simulateTimeout ends a simulation; it takes a second on large hosts.
	simulateTimeout = 5 * time.Minute
)

func (p Packages) packages(ctx context.Context) ([]schema.PackageStatus, error) {
	if p.Database == nil {
		all, _, err := readPackages(ctx)
		return all, err
	}
	return p.Database.read(dpkgStatus, time.Now, func() ([]schema.PackageStatus, fs.FileInfo, error) { return readPackages(ctx) })
}

// databaseStamp tells one state of dpkg's database from another: dpkg replaces the file as a whole.
type databaseStamp struct {
	dev, ino        uint64
	size            int64
	written, change unix.Timespec
}

func stampOf(info fs.FileInfo) (databaseStamp, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return databaseStamp{}, false
	}
	return databaseStamp{uint64(st.Dev), st.Ino, st.Size, unix.Timespec(st.Mtim), unix.Timespec(st.Ctim)}, true
}

// settled is how long a file must not have changed before its stamp can tell a later change: file systems count
// time in steps of up to two seconds.
const settled = 3 * time.Second

// read gives what was read before if the file at path is the very same, else loads it with what is known of the file
// that was read. The list is shared.
func (d *Database) read(path string, now func() time.Time, load func() ([]schema.PackageStatus, fs.FileInfo, error)) ([]schema.PackageStatus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.list != nil {
		if info, err := os.Stat(path); err == nil {
			if stamp, ok := stampOf(info); ok && stamp == d.stamp {
				return d.list, nil
			}
		}
		d.list = nil
	}
	begun := now()
	list, info, err := load()
	if err != nil {
		return nil, err
	}
	if stamp, ok := stampOf(info); ok && time.Unix(stamp.change.Unix()).Before(begun.Add(-settled)) {
		d.list, d.stamp = list, stamp
	}
	return list, nil
}

// readPackages reads dpkg's database. What dpkg did since it wrote that last is in its journal, which only dpkg reads:
// while interrupted says so, the database is of a moment before.
func readPackages(ctx context.Context) ([]schema.PackageStatus, fs.FileInfo, error) {
	f, err := os.Open(dpkgStatus)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read dpkg's database: no %q: this host has no dpkg", dpkgStatus)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read dpkg's database: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read dpkg's database: %w", err)
	}
	all, err := parseStatus(io.LimitReader(f, 256<<20), "")
	if err != nil {
		return nil, nil, err
	}
	// dpkg itself is of the host's own architecture, which saves asking it in a child.
	native := ""
	for _, p := range all {
		if p.Name == "dpkg" && p.State == schema.PackageInstalled {
			native = p.Arch
		}
	}
	if len(all) == 0 {
		// An empty database is a broken one: on it everything would look as if it were not installed.
		return nil, nil, fmt.Errorf("read dpkg's database: %q has no package in it; restore it from /var/backups/dpkg.status.0 or /var/lib/dpkg/status-old", dpkgStatus)
	}
	if native == "" {
		if native, err = nativeArch(ctx); err != nil {
			return nil, nil, err
		}
	}
	foreign := func(p schema.PackageStatus) int {
		if p.Arch == native || p.Arch == "all" {
			return 0
		}
		return 1
	}
	if slices.ContainsFunc(all, func(p schema.PackageStatus) bool { return foreign(p) > 0 }) {
		slices.SortStableFunc(all, func(a, b schema.PackageStatus) int { return foreign(a) - foreign(b) })
	}
	return all, info, nil
}

// nativeArch is the host's own architecture in dpkg's word.
func nativeArch(ctx context.Context) (string, error) {
	// dpkg's own record of it, without a child; Debian's dpkg writes none, others do.
	if b, err := os.ReadFile("/var/lib/dpkg/arch-native"); err == nil {
		if s := strings.TrimSpace(string(b)); packageArch().MatchString(s) {
			return s, nil
		}
	}
	c := Command{Path: "dpkg", Args: []string{"--print-architecture"}, Timeout: time.Minute}
	out, err := Run(context.WithoutCancel(ctx), c)
	if err == nil {
		err = out.Err(c)
	}
	if err != nil {
		return "", fmt.Errorf("ask dpkg for the architecture: %w", err)
	}
	s := strings.TrimSpace(string(out.Stdout))
	if !packageArch().MatchString(s) {
		return "", fmt.Errorf("ask dpkg for the architecture: %q is none", clean(s))
	}
	return s, nil
}

func (p Packages) simulate(ctx context.Context, tx schema.Transaction) (schema.Simulation, error) {
	args, err := aptArguments(tx)
	if err != nil {
		return schema.Simulation{}, &schema.SimulationError{Words: err.Error()}
	}
	c := aptChild("apt-get", append(append(aptOptions(0), "-s", "-o", "Debug::NoLocking=true"), args...))
	out, err := Run(ctx, c)
	if err != nil {
		return schema.Simulation{}, fmt.Errorf("simulate: %w", err)
	}
	if out.Truncated {
		return schema.Simulation{}, fmt.Errorf("simulate: apt-get said more than %d bytes", OutputLimit)
	}
	if out.ExitCode != 0 {
		return schema.Simulation{}, parseRefusal(slices.Concat(out.Stdout, []byte("\n"), out.Stderr))
	}
	sim, err := parseSimulation(out.Stdout)
	if err != nil {
		return sim, err
	}
	return sim, markReplaced(ctx, sim.Steps)
}

// markReplaced finds, for packages that would go, the new ones that take their place.
func markReplaced(ctx context.Context, steps []schema.SimulatedStep) error {
	var args []string
	removed := false
	for _, st := range steps {
		if st.Action == schema.Remove {
			removed = true
		} else if packageVersion().MatchString(st.New) {
			args = append(args, st.Name+"="+st.New)
		}
	}
	if !removed || len(args) == 0 {
		return nil
	}
	out, err := Run(ctx, aptChild("apt-cache", append([]string{"show"}, args...)))
	if err != nil {
		return fmt.Errorf("simulate: ask what replaces what: %w", err)
	}
	by := parseReplaces(out.Stdout) // an answer with gaps makes fewer replacements, so more refusals
	for i, st := range steps {
		if st.Action == schema.Remove {
			steps[i].ReplacedBy = by[st.Name]
		}
	}
	return nil
}

func aptChild(name string, args []string) Command {
	return Command{Path: name, Args: args, Env: quiet[:], Timeout: simulateTimeout}
}

// checkSpace refuses a transaction for which there is no room, before anything is begun: dpkg that
// cannot write its database leaves a host in need of a person.
func checkSpace(ctx context.Context, args []string) error {
	const slack = 16 << 20 // for dpkg's database, which is written anew for each package, and logs
	out, err := Run(ctx, aptChild("apt-get", append(append(aptOptions(0), "--print-uris", "-o", "Debug::NoLocking=true"), args...)))
	if err != nil {
		return fmt.Errorf("ask for the size of the packages: %w", err)
	}
	fetched, all := parseDownload(out.Stdout)
	type need struct {
		dir   string
		bytes uint64
		why   string
	}
	var st unix.Stat_t
	devices := map[uint64]*need{}
	var order []*need
	for _, n := range []need{ // unpacked files take two to four times the archive's size
		{"/var/cache/apt/archives", fetched, "the packages to fetch"},
		{"/var/lib/dpkg", slack, "dpkg's database"},
		{"/usr", 4 * all, "the packages' files"},
	} {
		if unix.Stat(n.dir, &st) != nil {
			continue
		}
		if have := devices[st.Dev]; have != nil {
			have.bytes += n.bytes
			have.why += ", " + n.why
			continue
		}
		devices[st.Dev] = &n
		order = append(order, &n)
	}
	for _, n := range order {
		var fs unix.Statfs_t
		if err := unix.Statfs(n.dir, &fs); err != nil {
			continue
		}
		if free := fs.Bavail * uint64(fs.Bsize); free < n.bytes {
			return fmt.Errorf("no space for %s: %q has %d MiB free and %d MiB are needed; nothing was begun",
				n.why, n.dir, free>>20, (n.bytes+1<<20-1)>>20)
		}
	}
	return nil
}

// waitLocks waits until no other program holds a lock of apt or dpkg, for limit at most. say is told for whom.
func waitLocks(ctx context.Context, limit time.Duration, say func(string)) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	told := ""
	for {
		who := holder(frontendLock, dpkgLock, archivesLock, listsLock)
		if who == "" {
			return nil
		}
		if who != told {
			say("waiting: " + who)
			told = who
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s; stopped waiting; nothing was begun", who)
		case <-deadline.C:
			return fmt.Errorf("%s, for longer than %v; nothing was begun: wait until it has ended, or end it yourself", who, limit)
		}
	}
}

func (p Packages) atWork() string { return holder(frontendLock, dpkgLock) }

// holder says who holds one of the locks of apt or dpkg; empty for nobody.
func holder(paths ...string) string {
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // never locked yet
		}
		l := unix.Flock_t{Type: unix.F_WRLCK}
		err = unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &l)
		_ = unix.Close(fd)
		if err == nil && l.Type != unix.F_UNLCK {
			return fmt.Sprintf("%q is locked by process %d (%s)", path, l.Pid, commandOf(int(l.Pid)))
		}
	}
	return ""
}

// commandOf is the command line of a process, for people.
func commandOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return "of which nothing is known"
	}
	s := clean(strings.TrimSpace(strings.ReplaceAll(string(b[:min(len(b), 200)]), "\x00", " ")))
	return fmt.Sprintf("%q", s)
}
