package host

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	godbus "github.com/godbus/dbus/v5"
)

func TestSystemdIsAskedAgainOnlyWhileItStartsItselfAnew(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		times int // that it fails
		asked int
	}{
		{"it answers", nil, 0, 1},
		{"its socket is closed", godbus.ErrClosed, 3, 4},
		{"it is gone from the bus", fmt.Errorf("ask: %w", godbus.Error{Name: "org.freedesktop.DBus.Error.NoReply"}), 3, 4},
		{"it never comes back", godbus.ErrClosed, 1000, askTimes},
		{"it says no", godbus.Error{Name: "org.freedesktop.systemd1.NoSuchUnit"}, 1000, 1},
		{"nobody lets us ask", errors.New("permission denied"), 1000, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, start := 0, time.Now()
				got, err := again(t.Context(), func(context.Context) (string, error) {
					if asked++; asked <= tt.times {
						return "", tt.err
					}
					return "active", nil
				})
				if asked != tt.asked || (err == nil) != (got == "active") || (err == nil) != (tt.times < tt.asked) {
					t.Errorf("%q, %v after %d times, want %d", got, err, asked, tt.asked)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func TestSystemdIsNotAskedAgainForWhoHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asked := 0
	if _, err := again(ctx, func(context.Context) (int, error) { asked++; return 0, godbus.ErrClosed }); err == nil || asked != 1 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}
