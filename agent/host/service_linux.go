package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	askLimit  = 30 * time.Second // for an answer of systemd
	jobLimit  = 2 * time.Minute  // for a unit to start or stop; systemd's own limit is 90 s
	linkLimit = time.Minute      // for links and for reading all unit files
)

// What systemd calls itself on D-Bus.
const (
	manager     = "org.freedesktop.systemd1.Manager"
	managerPath = "/org/freedesktop/systemd1"
)

// askSystemd opens the two connections of the library.
func askSystemd(ctx context.Context) (*dbus.Conn, error) {
	if err := needSystemd(); err != nil {
		return nil, err
	}
	return dbus.NewConnection(func() (*godbus.Conn, error) { return dialSystemd(ctx) })
}

// rawSystemd is a connection for the methods that the library does not have.
func rawSystemd(ctx context.Context) (*godbus.Conn, godbus.BusObject, error) {
	if err := needSystemd(); err != nil {
		return nil, nil, err
	}
	conn, err := dialSystemd(ctx)
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.Object("org.freedesktop.systemd1", managerPath), nil
}

func needSystemd() error {
	if !systemdRuns() {
		return noSystemdError{}
	}
	return nil
}

// dialSystemd opens a connection: as root to systemd's own socket, which needs no bus daemon, else to the system bus.
func dialSystemd(ctx context.Context) (*godbus.Conn, error) {
	conn, _, err := dialSystemdHow(ctx)
	return conn, err
}

// dialSystemdHow is dialSystemd; bus is that the connection is one to the system bus.
func dialSystemdHow(ctx context.Context) (conn *godbus.Conn, bus bool, err error) {
	if os.Geteuid() == 0 {
		if conn, err := dialPrivate(ctx); err == nil {
			return conn, false, nil
		}
	}
	conn, err = godbus.ConnectSystemBus(godbus.WithContext(ctx))
	if err != nil {
		return nil, false, fmt.Errorf("ask systemd: %w", err)
	}
	return conn, true, nil
}

// pingLimit is how long systemd's own socket may take to answer a first ping.
const pingLimit = 10 * time.Second

// dialPrivate connects to systemd's own socket and makes sure that it listens: a message that reaches systemd in
// one piece with the end of authentication is not looked at before another one comes (seen in 2 of 3 connections
// to systemd 252), so pings are sent until one is answered.
func dialPrivate(ctx context.Context) (*godbus.Conn, error) {
	conn, err := godbus.Dial("unix:path=/run/systemd/private", godbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal("0")}); err != nil {
		conn.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	answers := make(chan *godbus.Call, 64)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; ; {
		if sent < cap(answers) {
			conn.Object("org.freedesktop.systemd1", managerPath).Go("org.freedesktop.DBus.Peer.Ping", 0, answers)
			sent++
		}
		select {
		case c := <-answers:
			if c.Err != nil {
				conn.Close()
				return nil, c.Err
			}
			return conn, nil
		case <-tick.C:
		case <-ctx.Done():
			conn.Close()
			return nil, ctx.Err()
		}
	}
}

// While systemd starts itself anew (systemctl daemon-reexec) it answers nobody; questions are asked again for a while.
const (
	askAgain = 200 * time.Millisecond
	askTimes = 10
)

// again asks until an answer comes: as often as it takes while systemd starts itself anew, else once.
func again[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	for i := 1; ; i++ {
		answer, err := ask(ctx)
		var reply godbus.Error
		cut := errors.Is(err, godbus.ErrClosed) || errors.As(err, &reply) &&
			slices.Contains([]string{"org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected"}, reply.Name)
		if !cut || i == askTimes {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(askAgain):
		}
	}
}

func units(ctx context.Context, names []string) ([]schema.Unit, error) {
	return again(ctx, func(ctx context.Context) ([]schema.Unit, error) { return unitsOnce(ctx, names) })
}

func unitsOnce(ctx context.Context, names []string) ([]schema.Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, systemd, err := rawSystemd(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	states, err := listUnitsByNames(ctx, systemd, names)
	if err != nil {
		return nil, err
	}
	out := make([]schema.Unit, len(names))
	for i, u := range states {
		out[i] = schema.Unit{Name: names[i], Load: u.Load, Active: u.Active, Sub: u.Sub}
	}
	return out, nil
}

// systemdUnit is what systemd lists of a unit.
type systemdUnit struct {
	Name, Description, Load, Active, Sub, Followed string
	Path                                           godbus.ObjectPath
	JobID                                          uint32
	JobType                                        string
	JobPath                                        godbus.ObjectPath
}

func listUnitsByNames(ctx context.Context, systemd godbus.BusObject, names []string) ([]systemdUnit, error) {
	var states []systemdUnit
	if err := systemd.CallWithContext(ctx, manager+".ListUnitsByNames", 0, names).Store(&states); err != nil {
		return nil, fmt.Errorf("ask systemd for %d units: %w", len(names), err)
	}
	// Aliases come back under the names that they stand for, but in our order; names that cannot be are left out.
	if len(states) != len(names) {
		return nil, fmt.Errorf("ask systemd for %d units: it knows %d of the names", len(names), len(states))
	}
	return states, nil
}

// unitLinks is where systemctl enable makes links, and where a link to /dev/null masks.
const unitLinks = "/etc/systemd/system"

func unitFiles(ctx context.Context, names []string) ([]string, error) {
	return again(ctx, func(ctx context.Context) ([]string, error) { return unitFilesOnce(ctx, names) })
}

func unitFilesOnce(ctx context.Context, names []string) ([]string, error) {
	if err := needSystemd(); err != nil {
		return nil, err
	}
	linked, err := linkedUnits(unitLinks)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(names))
	var systemd godbus.BusObject
	for i, name := range names {
		if linked[name] && !masked(name) {
			out[i] = "enabled"
			continue
		}
		if systemd == nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, askLimit)
			defer cancel()
			conn, object, err := rawSystemd(ctx)
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			systemd = object
		}
		err := systemd.CallWithContext(ctx, manager+".GetUnitFileState", 0, name).Store(&out[i])
		var reply godbus.Error
		switch {
		case err == nil:
		case errors.As(err, &reply) && (reply.Name == "org.freedesktop.DBus.Error.FileNotFound" || reply.Name == "org.freedesktop.systemd1.NoSuchUnit"):
			out[i] = "" // none, or made by hand while systemd runs
		default:
			return nil, fmt.Errorf("ask systemd for the unit file of %q: %w", name, err)
		}
	}
	return out, nil
}

// linkedUnits are the units that have a link in the .wants or .requires folder of another one: those are
// enabled for good. The links of a file that has gone count as none.
func linkedUnits(folder string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, kind := range []string{"/*.wants/*", "/*.requires/*"} {
		links, err := filepath.Glob(folder + kind)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if st, err := os.Stat(l); err == nil && st.Mode().IsRegular() {
				out[filepath.Base(l)] = true
			}
		}
	}
	return out, nil
}

// masked reports whether a unit is masked; systemd looks in these folders first.
func masked(name string) bool {
	for _, folder := range []string{unitLinks, "/run/systemd/system", "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient"} {
		file := folder + "/" + name
		if to, err := os.Readlink(file); err == nil && to == "/dev/null" {
			return true
		}
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Size() == 0 {
			return true
		}
	}
	return false
}

func changeUnit(ctx context.Context, name string, change unitChange) error {
	ctx, cancel := context.WithTimeout(ctx, jobLimit)
	defer cancel()
	conn, err := askSystemd(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	result := make(chan string, 1)
	switch change {
	case startUnit:
		_, err = conn.StartUnitContext(ctx, name, "replace", result)
	case stopUnit:
		_, err = conn.StopUnitContext(ctx, name, "replace", result)
	case restartUnit:
		_, err = conn.RestartUnitContext(ctx, name, "replace", result)
	}
	if err != nil {
		return plainError(err)
	}
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("systemd is still at it after %v: %w", jobLimit, ctx.Err())
		}
		return ctx.Err()
	case r := <-result:
		return outcome(ctx, conn, name, change, r)
	}
}

// outcome turns the result of a job, and what became of its unit, into an error.
func outcome(ctx context.Context, conn *dbus.Conn, name string, change unitChange, result string) error {
	switch result {
	case "done", "skipped", "failed":
	case "timeout":
		return fmt.Errorf("it took too long, systemd gave up%s", lastWords(ctx, name))
	case "dependency":
		return fmt.Errorf("a unit it needs did not start; systemctl list-dependencies %s shows them", name)
	case "canceled":
		return errors.New("another job came in between")
	default:
		return fmt.Errorf("the job ended as %q", result)
	}
	get := func(property string) string {
		p, err := conn.GetUnitPropertyContext(ctx, name, property)
		if err != nil {
			return ""
		}
		v, _ := p.Value.Value().(string)
		return v
	}
	active := get("ActiveState")
	if change == stopUnit {
		if result == "failed" {
			return fmt.Errorf("it did not stop and is %s%s", active, lastWords(ctx, name))
		}
		return nil
	}
	if result == "done" && (active == "active" || active == "reloading" || active == "refreshing") {
		return nil
	}
	if active == "inactive" && result == "done" {
		return errors.New("systemd started it and it is stopped again: it runs and ends (a oneshot: leave out `running`), or a Condition in its unit file does not hold")
	}
	p, err := conn.GetUnitTypePropertyContext(ctx, name, typeOf(name), "Result")
	why := ""
	if err == nil {
		if v, ok := p.Value.Value().(string); ok && v != "success" {
			why = ", result " + v
		}
	}
	return fmt.Errorf("it did not come up and is %s%s%s", active, why, lastWords(ctx, name))
}

// typeOf is the D-Bus name of a unit's type: "Service".
func typeOf(name string) string {
	t := name[strings.LastIndexByte(name, '.')+1:]
	if t == "" {
		return "Service"
	}
	return strings.ToUpper(t[:1]) + t[1:]
}

// lastWords is the last line in the log that a unit itself wrote, or nothing.
func lastWords(ctx context.Context, name string) string {
	out, err := Run(ctx, Command{Path: "journalctl", Args: []string{"--quiet", "--no-pager", "--output=cat", "--lines=1", "--boot", "_SYSTEMD_UNIT=" + name}, Timeout: 3 * time.Second})
	if line := lastLine(out.Stdout); err == nil && out.ExitCode == 0 && line != "" {
		return fmt.Sprintf("; its last words: %q", line)
	}
	return "; journalctl -u " + name + " may say why"
}

func linkUnit(ctx context.Context, name string, enable bool) error {
	ctx, cancel := context.WithTimeout(ctx, linkLimit)
	defer cancel()
	conn, err := askSystemd(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if enable {
		_, _, err = conn.EnableUnitFilesContext(ctx, []string{name}, false, false)
		return plainError(err)
	}
	if _, err = conn.DisableUnitFilesContext(ctx, []string{name}, false); err != nil {
		return plainError(err)
	}
	_, err = conn.DisableUnitFilesContext(ctx, []string{name}, true)
	return plainError(err)
}

func reloadUnits(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkLimit)
	defer cancel()
	conn, err := askSystemd(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return plainError(conn.ReloadContext(ctx))
}

// plainError adds what to do about a refusal.
func plainError(err error) error {
	var reply godbus.Error
	if errors.As(err, &reply) && (reply.Name == "org.freedesktop.DBus.Error.AccessDenied" || reply.Name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired") {
		return fmt.Errorf("%w (run as root)", err)
	}
	return err
}
