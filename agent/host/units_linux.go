package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	godbus "github.com/godbus/dbus/v5"
)

const listUnitsLimit = 10 * time.Second

// listUnits asks systemd on its own socket, which needs no bus daemon but only
// serves root; others ask through the system bus.
func listUnits(ctx context.Context) ([]LoadedUnit, error) {
	if st, err := os.Lstat("/run/systemd/system"); err != nil || !st.IsDir() { // sd_booted(3)
		return nil, fmt.Errorf("list units: systemd does not run here: %w", errors.ErrUnsupported)
	}
	ctx, cancel := context.WithTimeout(ctx, listUnitsLimit)
	defer cancel()
	// One connection and one answer, where the library opens two and asks for signals.
	conn, systemd, err := rawSystemd(ctx)
	if err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	defer conn.Close()
	var units []struct { // org.freedesktop.systemd1(5), ListUnits
		Name, Description, LoadState, ActiveState, SubState, Following string
		Path                                                           godbus.ObjectPath
		Job                                                            uint32
		JobType                                                        string
		JobPath                                                        godbus.ObjectPath
	}
	if err := systemd.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.ListUnits", 0).Store(&units); err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	out := make([]LoadedUnit, len(units))
	for i, u := range units {
		out[i] = LoadedUnit{Name: u.Name, Description: u.Description, LoadState: u.LoadState, ActiveState: u.ActiveState, SubState: u.SubState}
	}
	return out, nil
}
