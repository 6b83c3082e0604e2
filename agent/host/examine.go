package host

import (
	"context"
	"strings"
	"time"
)

// Feature is something that this program uses of its system.
type Feature struct {
	Name    string // "openat2"
	Problem string // why it cannot be used; empty where it can
	Without string // what is done instead, or what cannot be done
	// Needed tells that without it something of a policy cannot be carried out.
	Needed bool
}

// Features looks for what this program uses of the kernel, without changing anything. It has nothing to tell on systems that
// it does not know.
func Features(ctx context.Context) []Feature { return features(ctx) }

// ClockSynchronised reports whether the kernel is told by somebody (NTP, PTP, a hypervisor) that its clock is right. It wraps
// errors.ErrUnsupported where that is not known.
func ClockSynchronised() (bool, error) { return clockSynchronised() }

// FreeSpace is how many bytes and files have room in a folder's file system for who is not root.
func FreeSpace(path string) (bytes, files uint64, err error) { return freeSpace(path) }

// PackageLock says who holds a lock of the package manager; empty for nobody.
func PackageLock() string { return packageLock() }

// PrivateFolder is nil where nobody but its owner, who is root or runs this, may look into a folder or exchange it. The
// error wraps ErrNotOwned, or fs.ErrNotExist.
func PrivateFolder(path string) error { return privateFolder(path) }

// UnitProperties are properties of a unit in systemd's own words. It wraps ErrNoProgram where there is no systemctl.
func UnitProperties(ctx context.Context, unit string, names ...string) (map[string]string, error) {
	c := Command{Path: "systemctl", Args: []string{"show", "--no-pager", "-p", strings.Join(names, ","), "--", unit}, Timeout: 10 * time.Second}
	out, err := Run(ctx, c)
	if err == nil {
		err = out.Err(c)
	}
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out.Stdout)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			got[name] = value
		}
	}
	return got, nil
}

// SystemdRuns reports whether systemd is this host's service manager (sd_booted(3)).
func SystemdRuns() bool { return systemdIsThere() }
