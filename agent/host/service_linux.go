package host

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// askSystemd opens a connection: as root systemd's own socket, which needs no bus daemon, else the system bus.
func askSystemd(ctx context.Context) (*dbus.Conn, error) {
	if err := needSystemd(); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if conn, err := dbus.NewSystemdConnectionContext(ctx); err == nil {
			return conn, nil
		}
	}
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask systemd: %w", err)
	}
	return conn, nil
}

func needSystemd() error {
	if !systemdRuns() {
		return fmt.Errorf("no systemd here: services cannot be managed on this host: %w", errors.ErrUnsupported)
	}
	return nil
}

// rawSystemd is a connection for the methods that the library does not have.
func rawSystemd(ctx context.Context) (*godbus.Conn, godbus.BusObject, error) {
	if err := needSystemd(); err != nil {
		return nil, nil, err
	}
	if os.Geteuid() == 0 {
		if conn, err := godbus.Dial("unix:path=/run/systemd/private", godbus.WithContext(ctx)); err == nil {
			if err := conn.Auth([]godbus.Auth{godbus.AuthExternal("0")}); err == nil {
				return conn, conn.Object("org.freedesktop.systemd1", managerPath), nil
			}
			conn.Close()
		}
	}
	conn, err := godbus.ConnectSystemBus(godbus.WithContext(ctx))
	if err != nil {
		return nil, nil, fmt.Errorf("ask systemd: %w", err)
	}
	return conn, conn.Object("org.freedesktop.systemd1", managerPath), nil
}

func units(ctx context.Context, names []string) ([]schema.Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, systemd, err := rawSystemd(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	out := make([]schema.Unit, len(names))
	var loadable []string
	var at []int
	for i, name := range names {
		out[i] = schema.Unit{Name: name, Load: "loaded", Active: "inactive"}
		if !strings.Contains(name, "@.") { // templates cannot be loaded
			loadable, at = append(loadable, name), append(at, i)
		}
	}
	var states []struct {
		Name, Description, Load, Active, Sub, Followed string
		Path                                           godbus.ObjectPath
		JobID                                          uint32
		JobType                                        string
		JobPath                                        godbus.ObjectPath
	}
	if len(loadable) > 0 {
		if err := systemd.CallWithContext(ctx, manager+".ListUnitsByNames", 0, loadable).Store(&states); err != nil {
			return nil, fmt.Errorf("ask systemd for %d units: %w", len(loadable), err)
		}
		// The names that come back are those that aliases stand for, in our order.
		if len(states) != len(loadable) {
			return nil, fmt.Errorf("ask systemd for %d units: it knows %d of the names", len(loadable), len(states))
		}
	}
	for j, i := range at {
		out[i].Load, out[i].Active, out[i].Sub = states[j].Load, states[j].Active, states[j].Sub
	}
	for i := range out {
		err := systemd.CallWithContext(ctx, manager+".GetUnitFileState", 0, names[i]).Store(&out[i].File)
		var reply godbus.Error
		switch {
		case err == nil:
		case errors.As(err, &reply) && (reply.Name == "org.freedesktop.DBus.Error.FileNotFound" || reply.Name == "org.freedesktop.systemd1.NoSuchUnit"):
			out[i].File = "" // none, or made by hand while systemd runs
		default:
			return nil, fmt.Errorf("ask systemd for the unit file of %q: %w", names[i], err)
		}
		if out[i].File == "" && strings.Contains(names[i], "@.") {
			out[i].Load = "not-found"
		}
	}
	return out, nil
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
		if !condition(ctx, conn, name) {
			return errors.New("a condition of its unit file (Condition... in [Unit]) does not hold, so systemd left it stopped")
		}
		return errors.New("it ran and ended: it does not stay up (a oneshot without RemainAfterExit, or nothing to do); leave out `running`")
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

// condition is whether the conditions of a unit held when it was last started.
func condition(ctx context.Context, conn *dbus.Conn, name string) bool {
	p, err := conn.GetUnitPropertyContext(ctx, name, "ConditionResult")
	if err != nil {
		return true
	}
	held, ok := p.Value.Value().(bool)
	return held || !ok
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
