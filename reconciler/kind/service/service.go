// Package service is the resource kind `services`: whether a unit of the service
// manager runs now and whether it is started at boot.
//
// The two are independent, and what a policy leaves out is left alone. A unit
// that does not exist is stopped and disabled; one that should run or be enabled is then
// a difference, since a package of the same policy may bring it, and an error
// only when it is applied. A failed unit is a stopped one. Static units, which have nothing to
// be enabled by, are disabled; those that a generator made are neither.
//
// A stopped service may be started again by its socket, timer or path unit, or
// by another service: a policy that wants it to stay away names those too.
package service

import (
	"context"
	"fmt"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Host is what the kind needs of a host; package host satisfies it.
type Host interface {
	// Units tells of each unit, in the order of names, which are whole ("nginx.service"); File may be left out.
	Units(ctx context.Context, names []string) ([]schema.Unit, error)
	// UnitFiles tells Unit.File of each, in the order of names. It costs more than Units.
	UnitFiles(ctx context.Context, names []string) ([]string, error)
	// StartUnit, StopUnit and RestartUnit wait until it is done. A unit that is not up after a start is an error.
	StartUnit(ctx context.Context, name string) error
	StopUnit(ctx context.Context, name string) error
	RestartUnit(ctx context.Context, name string) error
	// EnableUnit and DisableUnit change links; ReloadUnits then makes the service manager read them.
	EnableUnit(ctx context.Context, name string) error
	DisableUnit(ctx context.Context, name string) error
	ReloadUnits(ctx context.Context) error
}

// Kind checks and applies services.
type Kind struct{ Host Host }

// The words of a difference.
const (
	running  = "running"
	stopped  = "stopped"
	enabled  = "enabled"
	disabled = "disabled"
)

// Check tells for each resource how its unit differs. It asks the service manager once.
func (k Kind) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := make([]schema.Checked, len(rs))
	units, errs := k.look(ctx, rs)
	for i, r := range rs {
		if errs[i] != nil {
			out[i].Err = fmt.Errorf("check service %q: %w", r.Key, errs[i])
			continue
		}
		out[i].Drift = drift(*r.Service, units[i])
	}
	return out
}

// look reads the units of all resources.
func (k Kind) look(ctx context.Context, rs []schema.Resource) ([]schema.Unit, []error) {
	units, errs := make([]schema.Unit, len(rs)), make([]error, len(rs))
	var names []string
	var at []int
	for i, r := range rs {
		name, err := UnitName(r.Key)
		switch {
		case err != nil:
			errs[i] = err
		case r.Service == nil:
			errs[i] = fmt.Errorf("says nothing of a service")
		case template(name):
			errs[i] = fmt.Errorf("%q is a template, which neither runs nor is enabled: name an instance such as %q", name, strings.Replace(name, "@.", "@name.", 1))
		default:
			names, at = append(names, name), append(at, i)
		}
	}
	if len(names) == 0 {
		return units, errs
	}
	got, err := k.Host.Units(ctx, names)
	if err == nil && len(got) != len(names) {
		err = fmt.Errorf("the service manager tells of %d units, asked for %d", len(got), len(names))
	}
	if err != nil {
		for _, i := range at {
			errs[i] = err
		}
		return units, errs
	}
	var fileNames []string
	var fileAt []int
	for j, i := range at {
		units[i] = got[j]
		if rs[i].Service.Enabled != nil {
			fileNames, fileAt = append(fileNames, names[j]), append(fileAt, i)
		}
	}
	if len(fileNames) == 0 {
		return units, errs
	}
	files, err := k.Host.UnitFiles(ctx, fileNames)
	if err == nil && len(files) != len(fileNames) {
		err = fmt.Errorf("the service manager tells of %d unit files, asked for %d", len(files), len(fileNames))
	}
	for j, i := range fileAt {
		if err != nil {
			errs[i] = err
			continue
		}
		units[i].File = files[j]
	}
	return units, errs
}

// drift compares what is wanted with a unit.
func drift(want schema.Service, u schema.Unit) schema.Drift {
	var d schema.Drift
	if want.Enabled != nil {
		switch is := atBoot(u); {
		case *want.Enabled && is != enabled:
			d = append(d, schema.Difference{Action: schema.Enable, Want: enabled, Got: is})
		case !*want.Enabled && (is == enabled || is == "enabled-runtime"):
			d = append(d, schema.Difference{Action: schema.Disable, Want: disabled, Got: is})
		}
	}
	if want.Running != nil {
		switch is := now(u); {
		case *want.Running && is != running:
			d = append(d, schema.Difference{Action: schema.Start, Want: running, Got: is})
		case !*want.Running && up(u):
			d = append(d, schema.Difference{Action: schema.Stop, Want: stopped, Got: is})
		}
	}
	return d
}

// atBoot is whether a unit is started at boot, in our words where we have one; empty if it does not exist.
func atBoot(u schema.Unit) string {
	switch u.File {
	case "enabled", "alias": // an alias is made by enabling
		return enabled
	case "disabled", "linked", "linked-runtime":
		return disabled
	}
	return u.File // static, indirect, masked, generated, transient, bad, enabled-runtime
}

// now is what a unit does, in our words where we have one; empty if it does not exist.
func now(u schema.Unit) string {
	switch u.Active {
	case "active", "reloading", "refreshing":
		return running
	case "activating":
		if u.Sub == "auto-restart" || u.Sub == "auto-restart-queued" {
			return "restarting"
		}
		return "starting"
	case "deactivating":
		return "stopping"
	}
	switch {
	case u.Load == "not-found":
		return ""
	case u.Load == "masked":
		return "masked"
	case u.Active == "inactive":
		return stopped
	}
	return u.Active // failed, maintenance
}

// OnItsWay reports whether a difference is of a unit that is to run and starts, stops or waits to be started again just
// now: somebody restarts it, or the service manager does.
func OnItsWay(d schema.Difference) bool {
	return d.Action == schema.Start && (d.Got == "starting" || d.Got == "stopping" || d.Got == "restarting")
}

// up reports whether there is something to stop.
func up(u schema.Unit) bool { return u.Active != "inactive" && u.Active != "failed" }

// Apply enables and disables, then starts and stops, one unit after the other, and reports for each what failed.
func (k Kind) Apply(ctx context.Context, rs []schema.Resource) []error {
	out := make([]error, len(rs))
	if err := ctx.Err(); err != nil {
		for i := range out {
			out[i] = fmt.Errorf("apply service %q: %w", rs[i].Key, err)
		}
		return out
	}
	units, errs := k.look(ctx, rs)
	drifts := make([]schema.Drift, len(rs))
	linked := false
	for i, r := range rs {
		if errs[i] == nil && r.Mode == schema.Audit {
			errs[i] = fmt.Errorf("not applied, its policy only audits")
		}
		if errs[i] != nil {
			out[i] = fmt.Errorf("apply service %q: %w", r.Key, errs[i])
			continue
		}
		drifts[i] = drift(*r.Service, units[i])
		if err := possible(drifts[i], units[i]); err != nil {
			out[i], drifts[i] = err, nil
			continue
		}
		for _, d := range drifts[i] {
			var err error
			switch d.Action {
			case schema.Enable:
				err = k.Host.EnableUnit(ctx, units[i].Name)
				linked = true
			case schema.Disable:
				err = k.Host.DisableUnit(ctx, units[i].Name)
				linked = true
			}
			if err != nil {
				out[i] = fmt.Errorf("%s %q: %w", d.Action, units[i].Name, err)
			}
		}
	}
	if linked {
		if err := k.Host.ReloadUnits(ctx); err != nil {
			for i := range rs {
				if out[i] == nil && len(drifts[i]) > 0 {
					out[i] = fmt.Errorf("apply service %q: reload units: %w", rs[i].Key, err)
				}
			}
		}
	}
	for i := range rs {
		for _, d := range drifts[i] {
			var err error
			switch d.Action {
			case schema.Start:
				err = k.Host.StartUnit(ctx, units[i].Name)
			case schema.Stop:
				err = k.Host.StopUnit(ctx, units[i].Name)
			}
			if err != nil && out[i] == nil {
				out[i] = fmt.Errorf("%s %q: %w", d.Action, units[i].Name, err)
			}
		}
	}
	return out
}

// possible says why a drift cannot be mended, before anything is tried.
func possible(d schema.Drift, u schema.Unit) error {
	for _, x := range d {
		if x.Action != schema.Enable && x.Action != schema.Start {
			continue
		}
		wrong := func(why string) error { return fmt.Errorf("%s %q: %s", x.Action, u.Name, why) }
		switch {
		case u.Load == "not-found" && u.File == "":
			return wrong("there is no such unit on this host (its package may be missing)")
		case u.Load == "masked" || u.File == "masked" || u.File == "masked-runtime":
			return wrong("it is masked, so that nothing may start it; if it should run: systemctl unmask " + u.Name)
		case u.Load == "error" || u.Load == "bad-setting" || u.File == "bad":
			return wrong("its unit file cannot be read (" + u.Load + "); systemd-analyze verify " + u.Name + " says why")
		case x.Action == schema.Start:
		case u.File == "static":
			return wrong("it is static: it has no [Install] section, other units start it; leave out `enabled`")
		case u.File == "indirect":
			return wrong("it is enabled through other units only (Also= in its [Install] section): name those")
		case u.File == "generated" || u.File == "transient":
			return wrong("it is " + u.File + ", not made from a unit file that could be enabled; leave out `enabled`")
		}
	}
	return nil
}

// StoppedError says that a unit was not restarted because it does not run: it reads the change when it is started.
type StoppedError struct{ Unit string }

func (e *StoppedError) Error() string {
	return fmt.Sprintf("restart %q: it is stopped, and stays so", e.Unit)
}

// Stopped tells who asked for the restart that there was nothing to do.
func (e *StoppedError) Stopped() bool { return true }

// Restart restarts a service because of a change, and waits for it. A unit that is stopped stays so, with a
// *StoppedError; a failed one is started, since the change may be the cure.
func (k Kind) Restart(ctx context.Context, key string) error {
	name, err := UnitName(key)
	if err != nil {
		return fmt.Errorf("restart service %q: %w", key, err)
	}
	if template(name) {
		return fmt.Errorf("restart service %q: a template cannot run", key)
	}
	units, err := k.Host.Units(ctx, []string{name})
	if err != nil {
		return fmt.Errorf("restart service %q: %w", key, err)
	}
	if len(units) != 1 || units[0].Load == "not-found" && units[0].Active == "inactive" {
		return fmt.Errorf("restart %q: there is no such unit on this host (its package may be missing)", name)
	}
	if units[0].Active == "inactive" {
		return &StoppedError{name}
	}
	if err := k.Host.RestartUnit(ctx, name); err != nil {
		return fmt.Errorf("restart %q: %w", name, err)
	}
	return nil
}

// UnitName is the whole name of a unit, as systemctl reads one: without the suffix of a type it is a
// service. The error says what is not allowed in names (systemd.unit(5)).
func UnitName(key string) (string, error) {
	name := key
	if i := strings.LastIndexByte(key, '.'); i < 0 || !unitType(key[i+1:]) {
		name += ".service"
	}
	stem := name[:strings.LastIndexByte(name, '.')]
	switch {
	case len(name) > 255:
		return "", fmt.Errorf("%q... is longer than a unit's name can be (255 bytes)", key[:40])
	case stem == "" || stem[0] == '@':
		return "", fmt.Errorf("%q is not the name of a unit", key)
	}
	for _, c := range stem {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(`:-_.\@`, c)) {
			return "", fmt.Errorf("%q is not the name of a unit: %q is not allowed in one", key, c)
		}
	}
	return name, nil
}

func unitType(s string) bool {
	switch s {
	case "service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice", "scope", "device":
		return true
	}
	return false
}

func template(name string) bool { return strings.Contains(name, "@.") }
