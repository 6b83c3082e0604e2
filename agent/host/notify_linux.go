package host

import (
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notifyLimit is how long the service manager may take to take a word.
const notifyLimit = 5 * time.Second

// Ready is a function that tells who started this process that it has begun: systemd, or with fd > 2
// the reader of that descriptor. Without either it does nothing.
func Ready(fd int) func() {
	notify, _ := ServiceManager()
	if fd > 2 {
		unix.CloseOnExec(fd)
	}
	return func() {
		if fd > 2 {
			f := os.NewFile(uintptr(fd), "ready")
			_, _ = f.WriteString("ready\n")
			_ = f.Close()
		}
		if notify != nil {
			notify("READY=1")
		}
	}
}

// ServiceManager gives how to tell the service manager of this process how it fares (sd_notify(3)), and after how
// long without "WATCHDOG=1" that ends it, 0 for never (sd_watchdog_enabled(3)). notify is nil where nobody listens.
// The environment's variables for it are taken away, so that no child speaks in our name.
func ServiceManager() (notify func(state string), watchdog time.Duration) {
	socket := os.Getenv("NOTIFY_SOCKET")
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name)
	}
	if socket == "" {
		return nil, 0
	}
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		watchdog = time.Duration(usec) * time.Microsecond
	}
	return func(state string) {
		// A word that does not get through is lost; there is nobody to tell.
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(notifyLimit))
		_, _ = conn.Write([]byte(state))
		_ = conn.Close()
	}, watchdog
}
