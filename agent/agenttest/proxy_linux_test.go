package agenttest

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// proxy serves what HTTPS_PROXY may name, at an address of the switch, until the test ends. used tells how many
// connections it has passed on. The names it knows are the switch's.
func proxy(t testing.TB, netns, addr string) (used func() int64) {
	t.Helper()
	l, err := listenIn(netns, addr)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	var count atomic.Int64
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := strings.Replace(r.Host, "sw:", "10.77.0.254:", 1)
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		there, err := within(netns, func() (net.Conn, error) { return net.DialTimeout("tcp", to, 10*time.Second) })
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		count.Add(1)
		if _, err := io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		go func() { _, _ = io.Copy(there, here); _ = there.Close() }()
		_, _ = io.Copy(here, there)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		_ = srv.Close()
	})
	return count.Load
}
