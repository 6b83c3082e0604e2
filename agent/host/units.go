package host

import "context"

// LoadedUnit is a unit that systemd holds in memory, with systemd's own words.
type LoadedUnit struct{ Name, Description, LoadState, ActiveState, SubState string }

// LoadedUnits lists what systemd has loaded, whether it runs or not. It wraps
// errors.ErrUnsupported where systemd is not the service manager.
func LoadedUnits(ctx context.Context) ([]LoadedUnit, error) { return listUnits(ctx) }
