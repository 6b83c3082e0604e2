package host

import (
	"context"
	"fmt"

	"github.com/dunlin-dev/dunlin/schema"
)

// servicesFile holds the units of a simulated host by their whole name.
const servicesFile = "services.json"

// Units tells of each unit; one that the file does not have does not exist.
func (s Simulated) Units(ctx context.Context, names []string) ([]schema.Unit, error) {
	all, err := s.units(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]schema.Unit, len(names))
	for i, name := range names {
		u, there := all[name]
		if !there {
			u = schema.Unit{Load: "not-found", Active: "inactive", Sub: "dead"}
		}
		u.Name = name
		out[i] = u
	}
	return out, nil
}

// UnitFiles tells whether each unit is enabled.
func (s Simulated) UnitFiles(ctx context.Context, names []string) ([]string, error) {
	units, err := s.Units(ctx, names)
	out := make([]string, len(units))
	for i, u := range units {
		out[i] = u.File
	}
	return out, err
}

func (s Simulated) units(ctx context.Context) (map[string]schema.Unit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.loadUnits()
}

func (s Simulated) loadUnits() (map[string]schema.Unit, error) {
	all := map[string]schema.Unit{}
	return all, s.loadState(servicesFile, &all)
}

// SetUnits replaces the units of the host.
func (s Simulated) SetUnits(units map[string]schema.Unit) error {
	return s.saveState(servicesFile, units)
}

// changeUnit changes one unit that exists.
func (s Simulated) changeUnit(ctx context.Context, name string, change func(*schema.Unit)) error {
	all, err := s.units(ctx)
	if err != nil {
		return err
	}
	u, there := all[name]
	if !there {
		return fmt.Errorf("unit %q not found", name)
	}
	change(&u)
	all[name] = u
	return s.saveState(servicesFile, all)
}

// StartUnit makes a unit run.
func (s Simulated) StartUnit(ctx context.Context, name string) error {
	return s.changeUnit(ctx, name, func(u *schema.Unit) { u.Active, u.Sub = "active", "running" })
}

// StopUnit makes it stop.
func (s Simulated) StopUnit(ctx context.Context, name string) error {
	return s.changeUnit(ctx, name, func(u *schema.Unit) { u.Active, u.Sub = "inactive", "dead" })
}

// RestartUnit makes it run.
func (s Simulated) RestartUnit(ctx context.Context, name string) error {
	return s.StartUnit(ctx, name)
}

// EnableUnit makes it start at boot.
func (s Simulated) EnableUnit(ctx context.Context, name string) error {
	return s.changeUnit(ctx, name, func(u *schema.Unit) { u.File = "enabled" })
}

// DisableUnit keeps it from starting at boot.
func (s Simulated) DisableUnit(ctx context.Context, name string) error {
	return s.changeUnit(ctx, name, func(u *schema.Unit) { u.File = "disabled" })
}

// ReloadUnits does nothing: the file is read each time.
func (s Simulated) ReloadUnits(ctx context.Context) error { return ctx.Err() }
