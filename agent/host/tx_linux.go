package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

// This file is the transaction process: what `dunlin tx` does.

// worker is one transaction that runs in this process.
type worker struct {
	dir    txFolder
	intent txIntent
	log    *os.File
	status *os.File // apt's progress, APT::Status-Fd
	ctx    context.Context
}

func runTransaction(ctx context.Context, state, id string, ready func()) error {
	// A lost terminal must not end dpkg. The signal is caught and not ignored: children inherit the latter.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup)
	unix.Umask(0o022) // what dpkg and maintainer scripts make must be readable as usual

	dir := txFolder(state + "/tx")
	w := worker{dir: dir, ctx: ctx}
	if err := readJSON(dir.intent(id), &w.intent); err != nil {
		return fmt.Errorf("transaction %q: %w", id, err)
	}
	if w.intent.V != 1 || w.intent.ID != id {
		return fmt.Errorf("transaction %q: the intent is of another version or transaction", id)
	}
	lock, err := takeLock(ctx, dir.lock(), or(w.intent.LockTimeout, defaultLockTimeout))
	if err != nil {
		return fmt.Errorf("transaction %q: %w", id, err)
	}
	defer func() { _ = lock.Close() }()
	// Only now: whoever took this transaction for dead has written a result under the same lock.
	if _, err := os.Lstat(dir.result(id)); err == nil {
		return fmt.Errorf("transaction %q: has been done", id)
	}
	ready()
	res := txResult{TransactionResult: schema.TransactionResult{ID: id, Started: time.Now().UTC(), Log: dir.log(id)}}
	if err := w.open(); err != nil {
		res.Failure, res.Final = err.Error(), true
	} else {
		w.do(&res)
		_ = w.log.Close()
		_ = w.status.Close()
	}
	res.Ended = time.Now().UTC()
	var errs []error
	if len(w.intent.Tx.Install) > 0 {
		have, _, err := readPackages(context.WithoutCancel(ctx))
		if err == nil {
			err = LastInstalls{Path: state + "/lastinstall.json"}.Add(lastInstallsOf(w.intent.Tx, have, res.TransactionResult))
		}
		errs = append(errs, err)
	}
	errs = append(errs, writeJSON(dir.result(id), res))
	return errors.Join(errs...)
}

func (w *worker) waitLocks() error {
	return waitLocks(w.ctx, or(w.intent.LockTimeout, defaultLockTimeout), w.say)
}

func (w *worker) open() (err error) {
	if w.log, err = os.OpenFile(w.dir.log(w.intent.ID), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	w.status, err = os.OpenFile(w.dir.progress(w.intent.ID), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return err
}

func (w *worker) do(res *txResult) {
	var err error
	switch w.intent.Op {
	case opPrepare:
		err = w.prepare(res)
	case opTransact:
		err = w.transact(res)
	default:
		err = fmt.Errorf("transaction %q: unknown operation %q", w.intent.ID, w.intent.Op)
	}
	if err != nil {
		res.Failure, res.Final = err.Error(), true
	}
}

// prepare finishes what dpkg left half done, and reads the archives' lists.
func (w *worker) prepare(res *txResult) error {
	if err := w.waitLocks(); err != nil {
		return err
	}
	trouble, err := interrupted(w.ctx)
	if err != nil {
		return err
	}
	if trouble {
		if err := w.configure(res); err != nil {
			return err
		}
		// Only now does the database say everything: dpkg has taken in its own journal.
		again, err := w.reinstall()
		if err != nil {
			return err
		}
		if again {
			res.Warnings, res.Words = nil, nil
			if err := w.configure(res); err != nil {
				return err
			}
		}
	}
	if !w.intent.Refresh || w.ctx.Err() != nil {
		return nil
	}
	w.say("reading the archives' lists")
	out, err := w.run("apt-get", append(aptOptions(w.intent.LockTimeout), "update"))
	if err != nil {
		return err
	}
	for _, s := range parseWarnings(out) {
		res.Warnings = append(res.Warnings, "apt-get update: "+s)
	}
	return nil
}

// configure runs `dpkg --configure -a` once. dpkg does not wait for locks, so we take the one that
// keeps other front ends out and tell it so, as apt does.
func (w *worker) configure(res *txResult) error {
	w.say("dpkg was interrupted before: configuring what is half-installed")
	lock, err := os.OpenFile(frontendLock, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	own := unix.Flock_t{Type: unix.F_WRLCK}
	for unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &own) != nil {
		if err := w.waitLocks(); err != nil {
			return err
		}
	}
	out, err := w.run("dpkg", append(slices.Clone(confold[:]), "--configure", "-a"), "DPKG_FRONTEND_LOCKED=true")
	if err != nil {
		return err
	}
	words, whole := parseFailures(out)
	if len(words) > 0 || whole != "" {
		res.Words = words
		res.Warnings = append(res.Warnings, "dpkg --configure -a did not mend everything: "+whole+sayAll(words))
	}
	return nil
}

func (w *worker) transact(res *txResult) error {
	args, err := aptArguments(w.intent.Tx)
	if err != nil {
		return err
	}
	if err := w.waitLocks(); err != nil {
		return err
	}
	if err := checkSpace(w.ctx, args); err != nil {
		return err
	}
	if err := w.rememberAuto(); err != nil {
		return err
	}
	if err := w.ctx.Err(); err != nil {
		return errors.New("not begun: this host is being shut down, or the transaction was stopped")
	}
	options := append(aptOptions(w.intent.LockTimeout), "-o", "APT::Status-Fd=3")
	if !w.intent.Tx.Removals {
		options = append(options, "--no-remove")
	}
	out, err := w.run("apt-get", append(options, args...))
	res.Words, res.Failure = parseFailures(out)
	if strings.Contains(string(out), "No space left on device") {
		res.Final = true
		res.Failure = sentence([]string{"no space left on a file system of this host", res.Failure})
	}
	if err != nil {
		return err
	}
	return markAuto(w.ctx, w.intent.Auto)
}

// rememberAuto writes down which of the packages had come by dependency before apt is told their names.
func (w *worker) rememberAuto() error {
	f, err := os.Open(aptStates)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	auto, err := parseAuto(f)
	if err != nil {
		return fmt.Errorf("read %q: %w", aptStates, err)
	}
	native, err := nativeArch(w.ctx)
	if err != nil {
		return err
	}
	for _, p := range w.intent.Tx.Install {
		arch := p.Arch
		if arch == "" || arch == "all" {
			arch = native
		}
		if key := p.Name + ":" + arch; auto[key] {
			w.intent.Auto = append(w.intent.Auto, key)
		}
	}
	if len(w.intent.Auto) == 0 {
		return nil
	}
	return writeJSON(w.dir.intent(w.intent.ID), w.intent)
}

// markAuto marks packages as come by dependency.
func markAuto(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	c := Command{Path: "apt-mark", Args: append([]string{"auto"}, names...), Timeout: 2 * time.Minute}
	out, err := Run(context.WithoutCancel(ctx), c)
	if err == nil {
		err = out.Err(c)
	}
	if err != nil {
		return fmt.Errorf("mark packages as dependencies again: %w", err)
	}
	return nil
}

// run starts a command whose output goes to the log file and nowhere else: were it a pipe, our
// death would break it, and dpkg with it. It returns what the command said. The error says that it
// had to be ended at the deadline or could not be started; a failure of its own is in its words.
func (w *worker) run(name string, args []string, env ...string) ([]byte, error) {
	path, err := lookPath(name)
	if err != nil {
		return nil, err
	}
	before, err := w.log.Stat()
	if err != nil {
		return nil, err
	}
	from := before.Size()
	cmd := child(path, append([]string{name}, args...), slices.Concat(quiet[:], env))
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = w.log, w.log, []*os.File{w.status}
	fmt.Fprintf(w.log, "+ %s %s\n", name, strings.Join(args, " "))
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %q: %w", name, err)
	}
	bounded := make(chan struct{})
	go boundLog(w.log, bounded)
	defer close(bounded)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), w.intent.Deadline)
	defer cancel()
	stopped := stopWith(ctx, cmd.Process.Pid, w.intent.KillGrace)
	if !errors.Is(stopped, errUnkillable) {
		_ = cmd.Wait() // the words in the log say more than the exit code
	}
	out, err := logFrom(w.log.Name(), from)
	if err != nil {
		return nil, err
	}
	if stopped != nil {
		return out, fmt.Errorf("%s had not ended after %v and was ended (its output is in %q); the next run repairs what it left",
			name, w.intent.Deadline, w.log.Name())
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		fmt.Fprintf(w.log, "+ %s: %s\n", name, cmd.ProcessState)
		if words, whole := parseFailures(out); code < 0 || len(words) == 0 && whole == "" {
			out = append(out, fmt.Sprintf("\nE: %s ended with %s\n", name, cmd.ProcessState)...)
		}
	}
	return out, nil
}

// logFrom reads what was appended to a log since it had the size from, at most its last 4 MiB.
func logFrom(path string, from int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return tailOf(path, min(max(st.Size()-from, 0), 4<<20))
}

// boundLog begins the log anew when it becomes too large, until done is closed. Writers append, so
// they go on at the new end.
func boundLog(f *os.File, done <-chan struct{}) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if st, err := f.Stat(); err == nil && st.Size() > maxLog {
				_ = f.Truncate(0)
			}
		}
	}
}

// say tells whoever waits for the transaction, in the form of apt's own progress lines.
func (w *worker) say(line string) { fmt.Fprintf(w.status, "dunlin::0:%s\n", line) }

func sayAll(words map[string]string) string {
	var all []string
	for name, why := range words {
		all = append(all, name+": "+why)
	}
	slices.Sort(all)
	return sentence(all)
}

// interrupted reports whether dpkg has work left over from before.
func interrupted(ctx context.Context) (bool, error) {
	entries, err := os.ReadDir(dpkgUpdates)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, e := range entries { // dpkg's journal: files named by numbers
		if name := e.Name(); strings.Trim(name, "0123456789") == "" {
			return true, nil
		}
	}
	have, _, err := readPackages(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(have, func(p schema.PackageStatus) bool { return troubled(p.State) }), nil
}
