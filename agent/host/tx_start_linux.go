package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

// This file is the side of those who want a transaction done.

const (
	pollEvery  = 50 * time.Millisecond
	startLimit = 30 * time.Second // until a transaction process says that it has begun
)

func (p Packages) prepare(ctx context.Context, refresh bool) (schema.Prepared, error) {
	var prep schema.Prepared
	if err := p.settle(ctx); err != nil {
		return prep, err
	}
	trouble, err := interrupted(ctx)
	if err != nil {
		return prep, err
	}
	if refresh || trouble {
		res, err := p.do(ctx, txIntent{Op: opPrepare, Refresh: refresh})
		if err != nil {
			return prep, err
		}
		if res.Failure != "" {
			return prep, fmt.Errorf("prepare the package manager: %s", res.Failure)
		}
		prep.Warnings = res.Warnings
	}
	have, _, err := readPackages(ctx)
	if err != nil {
		return prep, err
	}
	for _, st := range have {
		if troubled(st.State) {
			prep.Broken = append(prep.Broken, st)
		}
	}
	return prep, nil
}

func (p Packages) transact(ctx context.Context, tx schema.Transaction) (schema.TransactionResult, error) {
	if _, err := aptArguments(tx); err != nil {
		return schema.TransactionResult{}, err
	}
	if err := p.settle(ctx); err != nil {
		return schema.TransactionResult{}, err
	}
	res, err := p.do(ctx, txIntent{Op: opTransact, Tx: tx})
	return res.TransactionResult, err
}

// do writes the intent, starts its process and waits for the result.
func (p Packages) do(ctx context.Context, in txIntent) (txResult, error) {
	dir, err := p.folder()
	if err != nil {
		return txResult{}, err
	}
	dir.prune()
	var random [4]byte
	rand.Read(random[:])
	now := time.Now().UTC()
	in.V, in.Created = 1, now
	in.ID = now.Format("20060102T150405") + "-" + hex.EncodeToString(random[:])
	in.Deadline, in.KillGrace = or(p.Deadline, DefaultDeadline), or(p.KillGrace, defaultKillGrace)
	in.LockTimeout = or(p.LockTimeout, defaultLockTimeout)
	if err := ctx.Err(); err != nil {
		return txResult{}, fmt.Errorf("not begun: %w", err)
	}
	if err := writeJSON(dir.intent(in.ID), in); err != nil {
		return txResult{}, fmt.Errorf("nothing was begun: %w", err)
	}
	if err := p.launch(in.ID); err != nil {
		// Whether it runs after all is told by its lock; settling finds out.
		if free, e := lockIsFree(dir.lock()); e == nil && free {
			_ = os.Remove(dir.intent(in.ID))
		}
		return txResult{}, err
	}
	return p.wait(ctx, dir, in.ID)
}

// wait returns the result of a transaction that has been started by us or by somebody before us.
func (p Packages) wait(ctx context.Context, dir txFolder, id string) (txResult, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	f := follower{path: dir.progress(id), say: p.say}
	for n := 0; ; n++ {
		var res txResult
		err := readJSON(dir.result(id), &res)
		if err == nil {
			f.read()
			return res, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return res, err
		}
		f.read()
		if n%20 == 19 { // once a second: is it alive?
			free, err := lockIsFree(dir.lock())
			if err != nil {
				return res, err
			}
			if free {
				if err := readJSON(dir.result(id), &res); err == nil {
					return res, nil
				}
				return p.bury(ctx, dir, id)
			}
		}
		select {
		case <-ctx.Done():
			return res, fmt.Errorf("stopped waiting for transaction %s; it goes on to its end, and the next run takes it up: %w", id, ctx.Err())
		case <-tick.C:
		}
	}
}

func (p Packages) settle(ctx context.Context) error {
	dir, err := p.folder()
	if err != nil {
		return err
	}
	ids, err := dir.open()
	if err != nil {
		return err
	}
	for _, id := range ids {
		p.say("taking up transaction %s, which an earlier run began", id)
		free, err := lockIsFree(dir.lock())
		switch {
		case err != nil:
			return err
		case free:
			if err = p.mend(ctx); err == nil {
				_, err = p.bury(ctx, dir, id)
			}
		default:
			_, err = p.wait(ctx, dir, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mend lets dpkg finish what a transaction of ours left that was cut off. Nothing may differ any more and dpkg still have
// its journal to take in, so that apt refuses to work: nobody but us would come to put that right. The books of what was
// cut off are closed only afterwards, so that this is done again if it is cut off itself.
func (p Packages) mend(ctx context.Context) error {
	trouble, err := interrupted(ctx)
	if err != nil || !trouble {
		return err
	}
	res, err := p.do(ctx, txIntent{Op: opPrepare})
	if err == nil && res.Failure != "" {
		p.say("dpkg is not mended yet: %s", res.Failure)
	}
	return err
}

// bury writes the result of a transaction whose process is gone: the packages tell what became of it.
func (p Packages) bury(ctx context.Context, dir txFolder, id string) (txResult, error) {
	// Its apt-get may outlive it; and until that has ended nothing can be told.
	in := txIntent{ID: id}
	readErr := readJSON(dir.intent(id), &in)
	lock, err := takeLock(ctx, dir.lock(), startLimit)
	if err != nil {
		return txResult{}, err
	}
	defer func() { _ = lock.Close() }()
	var done txResult
	if err := readJSON(dir.result(id), &done); !errors.Is(err, fs.ErrNotExist) {
		return done, err
	}
	f := follower{path: dir.progress(id), say: p.say}
	f.read()
	if err := waitLocks(ctx, or(p.LockTimeout, defaultLockTimeout), func(s string) { p.say("%s", s) }); err != nil {
		return txResult{}, err
	}
	res := txResult{TransactionResult: schema.TransactionResult{
		ID: id, Started: in.Created, Ended: time.Now().UTC(), Log: dir.log(id),
		Failure: "interrupted: its process was ended from outside, or the host lost power",
	}}
	if readErr == nil {
		if out, err := tailOf(dir.log(id), 4<<20); err == nil {
			res.Words, _ = parseFailures(out)
		}
		if in.Op == opTransact {
			if err := markAuto(ctx, in.Auto); err != nil {
				res.Warnings = append(res.Warnings, err.Error())
			}
			have, _, err := readPackages(ctx)
			if err != nil {
				return res, err
			}
			if err := (LastInstalls{Path: p.lastInstallPath()}).Add(lastInstallsOf(in.Tx, have, res.TransactionResult)); err != nil {
				return res, err
			}
		}
	}
	return res, writeJSON(dir.result(id), res)
}

func (p Packages) folder() (txFolder, error) {
	if !filepath.IsAbs(p.State) {
		return "", fmt.Errorf("state folder %q is not an absolute path", p.State)
	}
	dir := p.State + "/tx"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of transactions: %w", err)
	}
	return txFolder(dir), nil
}

// program is the command that runs transaction id.
func (p Packages) program(id string) ([]string, error) {
	args := slices.Clone(p.Program)
	if len(args) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		args = []string{self, "tx"}
	}
	return append(args, "--state", p.State, id), nil
}

// launch starts the process of a transaction and returns when it has begun.
func (p Packages) launch(id string) error {
	args, err := p.program(id)
	if err != nil {
		return err
	}
	_, err = os.Lstat(args[0]) // an upgraded agent's own file may be gone; a unit needs one
	if !p.Session && err == nil && systemdRuns() {
		err := launchUnit(id, args)
		if err == nil || !errors.Is(err, errNoManager) {
			return err
		}
		p.say("%v; running the transaction in a session of its own", err)
	}
	return launchSession(args)
}

// launchSession starts the process in a session of its own, so that no terminal and no signal to
// our process group reaches it. Its third file is closed when it has begun, or ended.
func launchSession(args []string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	r, wr, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	path := args[0]
	if _, err := os.Lstat(path); err != nil {
		path = "/proc/self/exe"
	}
	var said bytes.Buffer
	cmd := child(path, append(slices.Clone(args), "--ready-fd", "3"), nil)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = null, null, null, []*os.File{wr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = wr.Close()
	if err != nil {
		return fmt.Errorf("start the transaction: %w", err)
	}
	go func() { _ = cmd.Wait() }() // reaped while we live; its result is in its file
	_ = r.SetReadDeadline(time.Now().Add(startLimit))
	if _, err := io.Copy(&said, io.LimitReader(r, 4096)); err != nil {
		return fmt.Errorf("start the transaction: it did not begin: %w", err)
	}
	if words := strings.TrimSpace(said.String()); words != "ready" {
		if words == "" {
			words = "its process ended at once"
		}
		return fmt.Errorf("start the transaction: %s", clean(words))
	}
	return nil
}

// lockIsFree reports whether no transaction process runs.
func lockIsFree(path string) (bool, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false, fmt.Errorf("open %q: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	default:
		return false, fmt.Errorf("lock %q: %w", path, err)
	}
}

// takeLock locks a file for as long as it is open, waiting up to limit.
func takeLock(ctx context.Context, path string, limit time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %q: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock %q: another transaction runs: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

// follower passes on what a transaction's progress file says.
type follower struct {
	path string
	say  func(string, ...any)
	at   int64
	part string
	last string
}

func (f *follower) read() {
	file, err := os.Open(f.path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	buf := make([]byte, 64<<10)
	n, _ := file.ReadAt(buf, f.at)
	f.at += int64(n)
	all := strings.Split(f.part+string(buf[:n]), "\n")
	f.part = all[len(all)-1]
	if len(f.part) > 4096 {
		f.part = ""
	}
	for _, line := range all[:len(all)-1] {
		if s := progressLine(line); s != "" && s != f.last {
			f.last = s
			f.say("%s", s)
		}
	}
}
