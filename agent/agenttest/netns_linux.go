package agenttest

import (
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// switchNet is the network namespace of the switch, which reaches every host and is reached by it.
func (b *bed) switchNet(t testing.TB) string {
	t.Helper()
	return "/run/netns/" + strings.TrimSpace(b.must(t, "netns", "sw"))
}

// within runs do in a network namespace, "" being this program's own. Sockets made there stay there.
func within[T any](netns string, do func() (T, error)) (made T, err error) {
	if netns == "" {
		return do()
	}
	var done sync.WaitGroup
	done.Go(func() {
		// The thread ends with this goroutine, since it stays locked: no other gets the namespace.
		runtime.LockOSThread()
		var f *os.File
		if f, err = os.Open(netns); err != nil {
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
			made, err = do()
		}
	})
	done.Wait()
	return made, err
}

func listenIn(netns, addr string) (net.Listener, error) {
	return within(netns, func() (net.Listener, error) { return net.Listen("tcp", addr) })
}
