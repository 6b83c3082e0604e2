package host

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// unitWatch listens to what systemd tells of units.
type unitWatch struct {
	tell  func(Drift)
	line  line
	units map[string]string // what to tell, by the unit's whole name
	// paths are systemd's own names of the units, those of aliases too, with what to tell; states is what was last
	// heard of each, since systemd tells everything of a unit when anything of it changes.
	paths  map[godbus.ObjectPath][]string
	states map[godbus.ObjectPath]string
}

func newUnitWatch(h *hints, log func(string), units map[string]string) *unitWatch {
	return &unitWatch{tell: h.tell, units: units, line: line{log: log, what: "services"}}
}

// run tells of changes until ctx ends. A connection that ends is made again, and then the units are looked at:
// systemd ends all when it starts itself anew (systemctl daemon-reexec).
func (w *unitWatch) run(ctx context.Context) {
	if needSystemd() != nil {
		return // a policy that names services fails with these words already
	}
	for w.line.down(ctx, w.listen(ctx)) {
	}
}

const (
	unitInterface     = "org.freedesktop.systemd1.Unit"
	propertiesChanged = "org.freedesktop.DBus.Properties.PropertiesChanged"
	nameOwnerChanged  = "org.freedesktop.DBus.NameOwnerChanged"
)

// errSystemdAnew ends a connection to the bus when systemd has a new one.
var errSystemdAnew = errors.New("systemd connects to the bus anew")

// listen tells of changes until the connection ends.
func (w *unitWatch) listen(ctx context.Context) error {
	conn, bus, err := dialSystemdHow(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	signals := make(chan *godbus.Signal, 1024)
	conn.Signal(signals)
	systemd := conn.Object("org.freedesktop.systemd1", managerPath)
	asking, stop := context.WithTimeout(ctx, askLimit)
	defer stop()
	if bus {
		// The bus passes on what is asked for; systemd's own socket gives everything.
		for _, match := range [][]godbus.MatchOption{
			{godbus.WithMatchInterface(manager), godbus.WithMatchObjectPath(managerPath)},
			{godbus.WithMatchInterface("org.freedesktop.DBus.Properties"), godbus.WithMatchMember("PropertiesChanged"),
				godbus.WithMatchPathNamespace(managerPath + "/unit"), godbus.WithMatchArg(0, unitInterface)},
			{godbus.WithMatchInterface("org.freedesktop.DBus"), godbus.WithMatchMember("NameOwnerChanged"), godbus.WithMatchArg(0, "org.freedesktop.systemd1")},
		} {
			if err := conn.AddMatchSignalContext(asking, match...); err != nil {
				return err
			}
		}
		if err := systemd.CallWithContext(asking, manager+".Subscribe", 0).Err; err != nil {
			return err
		}
	}
	if err := w.name(asking, systemd); err != nil {
		return err
	}
	w.line.up()
	w.tell(Drift{Resource: driftUnits})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-conn.Context().Done():
			return errors.New("systemd ended the connection")
		case s, open := <-signals:
			if !open {
				return errors.New("systemd ended the connection")
			}
			if err := w.heard(ctx, systemd, s); err != nil {
				return err
			}
		}
	}
}

// name asks systemd for its names of the units. A name that is an alias may begin to be one when unit files are read again.
func (w *unitWatch) name(ctx context.Context, systemd godbus.BusObject) error {
	w.paths, w.states = map[godbus.ObjectPath][]string{}, map[godbus.ObjectPath]string{}
	names := slices.Sorted(maps.Keys(w.units))
	for _, n := range names {
		w.paths[unitPath(n)] = []string{w.units[n]}
	}
	states, err := listUnitsByNames(ctx, systemd, names)
	if err != nil {
		return ctx.Err() // one of the names can be no unit; the others are known as they are
	}
	for i, u := range states {
		if tell := w.units[names[i]]; !slices.Contains(w.paths[u.Path], tell) {
			w.paths[u.Path] = append(w.paths[u.Path], tell)
		}
	}
	return nil
}

func unitPath(name string) godbus.ObjectPath {
	return godbus.ObjectPath(managerPath + "/unit/" + dbus.PathBusEscape(name))
}

// heard takes one signal. That a unit was loaded or forgotten (UnitNew, UnitRemoved) is none of those that matter:
// asking for it does the same.
func (w *unitWatch) heard(ctx context.Context, systemd godbus.BusObject, s *godbus.Signal) error {
	switch s.Name {
	case propertiesChanged:
		if len(s.Body) < 2 || s.Body[0] != any(unitInterface) {
			return nil
		}
		properties, _ := s.Body[1].(map[string]godbus.Variant)
		active, _ := properties["ActiveState"].Value().(string)
		sub, _ := properties["SubState"].Value().(string)
		if resources, ok := w.paths[s.Path]; ok && active != "" && w.states[s.Path] != active+" "+sub {
			w.states[s.Path] = active + " " + sub
			w.tellAll(resources)
		}
	case manager + ".JobRemoved":
		if len(s.Body) < 3 {
			return nil
		}
		if unit, ok := s.Body[2].(string); ok {
			w.tellAll(w.paths[unitPath(unit)])
		}
	case manager + ".UnitFilesChanged":
		w.tell(Drift{Resource: driftUnits})
	case manager + ".Reloading":
		if len(s.Body) < 1 || s.Body[0] != any(false) {
			return nil
		}
		ctx, stop := context.WithTimeout(ctx, askLimit)
		defer stop()
		if err := w.name(ctx, systemd); err != nil {
			return err
		}
		w.tell(Drift{Resource: driftUnits})
	case nameOwnerChanged:
		return errSystemdAnew
	}
	return nil
}

func (w *unitWatch) tellAll(resources []string) {
	for _, r := range resources {
		w.tell(Drift{Resource: r})
	}
}
