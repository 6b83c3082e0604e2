package host

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Packages is the package manager of this machine: apt and dpkg.
//
// What changes packages runs in a process of its own, `dunlin tx`: a transient unit
// dunlin-tx-ID.service where systemd runs, else a session of its own. So neither losing nor
// upgrading the program that asked breaks dpkg. The process writes its output and its result to
// files below State; the caller waits for them, and so may a later one (Settle).
//
// Lock files are waited for and never removed; nobody who holds one is ended. Configuration files
// that the host changed stay. Recommended packages are installed or not as the host's own apt
// configuration says. Packages that had come as dependencies stay marked so. Reboots are left to others.
type Packages struct {
	// State is the folder of the program's state; transactions live in State/tx, what was installed
	// last in State/lastinstall.json.
	State string
	// Program is the command that runs a transaction, to which `--state DIR ID` is added; nil means
	// this program with the argument "tx".
	Program []string
	// Deadline ends apt-get or dpkg; 0 means DefaultDeadline.
	Deadline time.Duration
	// KillGrace is the time between SIGTERM and SIGKILL at the deadline; 0 means 30 s.
	KillGrace time.Duration
	// LockTimeout is how long other programs' locks are waited for; 0 means 10 min.
	LockTimeout time.Duration
	// Session runs transactions in a session of their own even where systemd runs.
	Session bool
	// Progress, where set, is told what happens, a line for people at a time.
	Progress func(line string)
	// Database, where set, keeps what Packages read for as long as dpkg's file is the very same.
	Database *Database
}

// Database is what dpkg's database held when it was last read. The zero value is ready; it is safe for concurrent use.
type Database struct {
	mu    sync.Mutex
	list  []schema.PackageStatus // nil where it must be read
	stamp databaseStamp
}

// DefaultDeadline ends a transaction that hangs.
const DefaultDeadline = time.Hour

// The folder of dpkg's database, and the files that programs lock before they change packages.
const (
	dpkgStatus    = "/var/lib/dpkg/status"
	dpkgUpdates   = "/var/lib/dpkg/updates"
	aptStates     = "/var/lib/apt/extended_states"
	frontendLock  = "/var/lib/dpkg/lock-frontend"
	dpkgLock      = "/var/lib/dpkg/lock"
	archivesLock  = "/var/cache/apt/archives/lock"
	listsLock     = "/var/lib/apt/lists/lock"
	rebootRequest = "/run/reboot-required"
)

// quiet is the environment in which nothing asks questions and nothing restarts services behind our back.
var quiet = [...]string{
	"DEBIAN_FRONTEND=noninteractive", "DEBIAN_PRIORITY=critical", "APT_LISTCHANGES_FRONTEND=none", "APT_LISTBUGS_FRONTEND=none",
	"UCF_FORCE_CONFFOLD=1", "NEEDRESTART_SUSPEND=1", "NEEDRESTART_MODE=l",
}

// confold keeps configuration files that the host changed.
var confold = [...]string{"--force-confdef", "--force-confold"}

// Packages lists what dpkg's database holds, packages of the host's own architecture first. The list may be shared:
// it must not be changed.
func (p Packages) Packages(ctx context.Context) ([]schema.PackageStatus, error) {
	return p.packages(ctx)
}

// Foresee reads what Packages will be asked for, if it can be kept until then.
func (p Packages) Foresee(ctx context.Context) {
	if p.Database != nil {
		_, _ = p.packages(ctx) // an error comes again when it is asked for
	}
}

// Prepare takes up a transaction that still runs, waits for other programs' locks, finishes what
// dpkg left half done, and with refresh reads the archives' lists anew. Lists that could not be
// read are warnings: the old ones may serve.
func (p Packages) Prepare(ctx context.Context, refresh bool) (schema.Prepared, error) {
	return p.prepare(ctx, refresh)
}

// Simulate asks apt-get what it would do. It needs no root and changes nothing. It returns a
// *schema.SimulationError with apt's own words when apt says no.
func (p Packages) Simulate(ctx context.Context, tx schema.Transaction) (schema.Simulation, error) {
	return p.simulate(ctx, tx)
}

// Transact does tx and returns when it has ended. When ctx ends before, it returns an error that
// wraps the context's, and the transaction goes on to its end.
func (p Packages) Transact(ctx context.Context, tx schema.Transaction) (schema.TransactionResult, error) {
	return p.transact(ctx, tx)
}

// Settle waits for a transaction that an earlier caller began. Of those that ended without a word it
// lets dpkg finish what they left, and closes the books. It returns at once where there is none.
func (p Packages) Settle(ctx context.Context) error { return p.settle(ctx) }

// AtWork says who changes packages now, by the locks that whoever does holds; empty for nobody. Services are stopped and
// started meanwhile by maintainer scripts.
func (p Packages) AtWork() string { return p.atWork() }

// Record keeps in the last installs why a package was not installed.
func (p Packages) Record(_ context.Context, ref schema.PackageRef, reason string) error {
	return LastInstalls{Path: p.lastInstallPath()}.Add([]schema.LastInstall{{
		Name: ref.Name, Arch: ref.Arch, Version: ref.Version, At: time.Now().UTC(), Outcome: "failed", Reason: reason,
	}})
}

func (p Packages) lastInstallPath() string { return p.State + "/lastinstall.json" }

// say passes a line for people on.
func (p Packages) say(format string, args ...any) {
	if p.Progress != nil {
		p.Progress(fmt.Sprintf(format, args...))
	}
}

// or is d, or what stands for its absence.
func or(d, absent time.Duration) time.Duration {
	if d <= 0 {
		return absent
	}
	return d
}

// aptOptions are given to every apt-get. lock is how long it may wait for locks itself.
func aptOptions(lock time.Duration) []string {
	args := []string{
		"-q", "-y",
		"-o", fmt.Sprintf("DPkg::Lock::Timeout=%d", int(lock.Seconds())),
		"-o", "APT::Get::AllowUnauthenticated=false",
		"-o", "Acquire::AllowInsecureRepositories=false",
		"-o", "Acquire::Retries=3",
		// Without a terminal of its own dpkg stays in our process group and speaks to our log.
		"-o", "Dpkg::Use-Pty=false",
	}
	for _, c := range confold {
		args = append(args, "-o", "Dpkg::Options::="+c)
	}
	return args
}

// aptArguments are the words after the options for tx.
func aptArguments(tx schema.Transaction) ([]string, error) {
	if tx.Mend {
		return []string{"-f", "install"}, nil
	}
	args := []string{"install"}
	for _, p := range tx.Install {
		a, err := aptArgument(p, false)
		if err != nil {
			return nil, err
		}
		args = append(args, a)
	}
	for _, p := range tx.Remove {
		a, err := aptArgument(p, true)
		if err != nil {
			return nil, err
		}
		args = append(args, a)
	}
	return args, nil
}

// troubled reports whether a package needs dpkg's attention before anything else is done.
func troubled(state string) bool {
	switch state {
	case "half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending":
		return true
	}
	return false
}
