package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// errNoManager says that systemd could not be spoken to.
var errNoManager = errors.New("systemd does not answer")

// systemdRuns reports whether systemd is this host's service manager (sd_booted(3)).
func systemdRuns() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir()
}

// stopLimit is how long a shutdown waits for a transaction, which ends after the command that runs.
const stopLimit = 15 * time.Minute

// launchUnit runs args as a transient unit of its own and returns when it has said that it began.
func launchUnit(id string, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	conn, err := askSystemd(ctx)
	if err != nil {
		return fmt.Errorf("%w: %v", errNoManager, err)
	}
	defer conn.Close()
	property := func(name string, v any) dbus.Property {
		return dbus.Property{Name: name, Value: godbus.MakeVariant(v)}
	}
	done := make(chan string, 1)
	unit := "dunlin-tx-" + id + ".service"
	_, err = conn.StartTransientUnitContext(ctx, unit, "fail", []dbus.Property{
		dbus.PropDescription("Dunlin: package transaction " + id),
		dbus.PropExecStart(args, false),
		property("Type", "notify"),
		// Only the process itself is told to stop; dpkg and the daemons that packages start are let be.
		property("KillMode", "process"),
		property("SendSIGKILL", false),
		property("TimeoutStopUSec", uint64(stopLimit/time.Microsecond)),
		property("TimeoutStartUSec", uint64(startLimit/time.Microsecond)),
		property("CollectMode", "inactive-or-failed"),
		property("Environment", cleanEnvironment()),
		property("OOMScoreAdjust", int32(-500)),
		property("StandardInput", "null"),
	}, done)
	if err != nil {
		return fmt.Errorf("start unit %s: %w", unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("start unit %s: %s (see `journalctl -u %s`)", unit, result, unit)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("start unit %s: %w", unit, ctx.Err())
	}
}
