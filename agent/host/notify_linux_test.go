package host

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestTheServiceManagerIsToldOnItsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		name, usec, pid string
		want            time.Duration
	}{
		{"a watchdog for this process", "3000000", strconv.Itoa(os.Getpid()), 3 * time.Second},
		{"a watchdog for whoever asks", "3000000", "", 3 * time.Second},
		{"a watchdog for another process", "3000000", "1", 0},
		{"none", "", "", 0},
		{"one that is no number", "soon", "", 0},
		{"one that has passed", "-1", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", path)
			t.Setenv("WATCHDOG_USEC", tt.usec)
			t.Setenv("WATCHDOG_PID", tt.pid)
			notify, watchdog := ServiceManager()
			if watchdog != tt.want {
				t.Errorf("watchdog = %v, want %v", watchdog, tt.want)
			}
			if _, left := os.LookupEnv("NOTIFY_SOCKET"); left {
				t.Error("children are given the socket")
			}
			notify("READY=1")
			b := make([]byte, 64)
			_ = l.SetDeadline(time.Now().Add(10 * time.Second))
			if n, err := l.Read(b); err != nil || string(b[:n]) != "READY=1" {
				t.Errorf("heard %q, %v", b[:n], err)
			}
		})
	}
	if notify, _ := ServiceManager(); notify != nil {
		t.Error("without a socket somebody is told")
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	notify, _ := ServiceManager()
	notify("READY=1") // nobody listens; nothing happens
}
