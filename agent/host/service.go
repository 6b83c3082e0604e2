package host

import (
	"context"
	"errors"

	"github.com/dunlin-dev/dunlin/schema"
)

// noSystemdError says that services cannot be managed. It is errors.ErrUnsupported, without its words.
type noSystemdError struct{}

func (noSystemdError) Error() string {
	return "no systemd here: services cannot be managed on this host"
}
func (noSystemdError) Is(target error) bool { return target == errors.ErrUnsupported }

// Units tells of each unit, in the order of names, which are whole ("nginx.service"), in one question to
// systemd; File is left out. It wraps errors.ErrUnsupported where systemd does not run.
func (s System) Units(ctx context.Context, names []string) ([]schema.Unit, error) {
	return units(ctx, names)
}

// UnitFiles tells whether each unit is enabled, as systemctl is-enabled does: empty if it has no file. What is
// linked in the folder of configuration is read there, the others are asked of systemd, which takes about 2 ms each.
func (s System) UnitFiles(ctx context.Context, names []string) ([]string, error) {
	return unitFiles(ctx, names)
}

// StartUnit starts a unit and waits until it is up. The error tells how it ended, with the last line of its
// log, if it did not come up, and that it is still at it after two minutes.
func (s System) StartUnit(ctx context.Context, name string) error {
	s.at("start " + name)
	return changeUnit(ctx, name, startUnit)
}

// StopUnit stops a unit and waits until it is down, at most two minutes.
func (s System) StopUnit(ctx context.Context, name string) error {
	s.at("stop " + name)
	return changeUnit(ctx, name, stopUnit)
}

// RestartUnit is StopUnit, if it is up, and StartUnit.
func (s System) RestartUnit(ctx context.Context, name string) error {
	s.at("restart " + name)
	return changeUnit(ctx, name, restartUnit)
}

// EnableUnit makes the links that the [Install] section of a unit file asks for.
func (s System) EnableUnit(ctx context.Context, name string) error {
	s.at("enable " + name)
	return linkUnit(ctx, name, true)
}

// DisableUnit removes all links to a unit file from the folders of configuration, also those that last until
// the next boot only.
func (s System) DisableUnit(ctx context.Context, name string) error {
	s.at("disable " + name)
	return linkUnit(ctx, name, false)
}

// ReloadUnits makes systemd read all unit files again.
func (s System) ReloadUnits(ctx context.Context) error { return reloadUnits(ctx) }

// unitChange is what changeUnit does.
type unitChange int

const (
	startUnit unitChange = iota
	stopUnit
	restartUnit
)
