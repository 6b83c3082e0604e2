package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
)

// netns is a network namespace of the test's own, without a name, gone when the test ends.
type netns struct {
	fd *os.File
}

// newNetns makes a network namespace with loopback up.
func newNetns(t testing.TB) netns {
	t.Helper()
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs %s: apt-get install iproute2 nftables", tool)
		}
	}
	var n netns
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("this test needs root and network namespaces: %w", err)
		}
		var err error
		n.fd, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.fd.Close() })
	n.run(t, "ip link set lo up")
	return n
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// in runs f inside the namespace; sockets and children it makes are there.
func (n netns) in(t testing.TB, f func() error) error {
	t.Helper()
	return onThread(func() error {
		if err := unix.Setns(int(n.fd.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (n netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd.Fd()) }

// run runs commands, one a line, inside the namespace.
func (n netns) run(t testing.TB, lines string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(lines) {
		err := n.in(t, func() error {
			f := strings.Fields(line)
			if len(f) == 0 {
				return nil
			}
			b, err := exec.Command(f[0], f[1:]...).CombinedOutput()
			out.Write(b)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.TrimSpace(line), err, out.String())
		}
	}
	return out.String()
}

func (n netns) nft(t testing.TB, rules string) string {
	t.Helper()
	var out []byte
	err := n.in(t, func() (err error) {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

// network is a host and its neighbour, and behind the host a container.
type network struct {
	host, neighbour, container netns
	kind                       *port.Kind
}

func newNetwork(t testing.TB) network {
	t.Helper()
	w := network{host: newNetns(t), neighbour: newNetns(t), container: newNetns(t)}
	w.host.run(t, `ip link add h0 type veth peer name n0
		ip link set n0 netns `+w.neighbour.path()+`
		ip link add h1 type veth peer name c0
		ip link set c0 netns `+w.container.path()+`
		ip addr add 10.9.0.1/24 dev h0
		ip addr add fd09::1/64 dev h0 nodad
		ip addr add fe80::1/64 dev h0 nodad
		ip addr add 10.8.0.1/24 dev h1
		ip addr add fd08::1/64 dev h1 nodad
		ip addr add fe80::1/64 dev h1 nodad
		ip link set h0 up
		ip link set h1 up
		sysctl -q -w net.ipv4.ip_forward=1
		sysctl -q -w net.ipv6.conf.all.forwarding=1`)
	w.neighbour.run(t, `ip addr add 10.9.0.2/24 dev n0
		ip addr add 10.9.0.3/24 dev n0
		ip addr add fd09::2/64 dev n0 nodad
		ip addr add fd09::3/64 dev n0 nodad
		ip addr add fe80::2/64 dev n0 nodad
		ip link set n0 up
		ip route add default via 10.9.0.1
		ip -6 route add default via fd09::1`)
	w.container.run(t, `ip addr add 10.8.0.2/24 dev c0
		ip addr add fd08::2/64 dev c0 nodad
		ip addr add fe80::2/64 dev c0 nodad
		ip link set c0 up
		ip route add default via 10.8.0.1
		ip -6 route add default via fd08::1`)
	w.kind = &port.Kind{Host: nsHost{t: t, ns: w.host}}
	return w
}

// serve listens on a port in a namespace, both protocols and IP versions, and echoes.
func (n netns) serve(t testing.TB, p int) {
	t.Helper()
	err := n.in(t, func() error {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { io.Copy(c, c); c.Close() }()
			}
		}()
		// One socket an address, so that answers come from the one that was asked.
		ifs, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, i := range ifs {
			addrs, err := i.Addrs()
			if err != nil {
				return err
			}
			for _, a := range addrs {
				at := &net.UDPAddr{IP: a.(*net.IPNet).IP, Port: p}
				if at.IP.IsLinkLocalUnicast() {
					at.Zone = strconv.Itoa(i.Index)
				}
				u, err := net.ListenUDP("udp", at)
				if errors.Is(err, unix.EADDRNOTAVAIL) {
					continue // a link-local address that is still being probed
				}
				if err != nil {
					return err
				}
				t.Cleanup(func() { u.Close() })
				go func() {
					b := make([]byte, 64)
					for {
						n, from, err := u.ReadFrom(b)
						if err != nil {
							return
						}
						u.WriteTo(b[:n], from)
					}
				}()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long an answer is waited for that a dropped packet never gives.
const patience = 400 * time.Millisecond

// reaches tells whether a connection or, for udp, an echo comes through. from is the own address, or empty.
func (n netns) reaches(t testing.TB, protocol, from, to string) bool {
	t.Helper()
	return n.in(t, func() error {
		d := net.Dialer{Timeout: patience}
		if from != "" {
			if d.LocalAddr = net.Addr(&net.TCPAddr{IP: net.ParseIP(from)}); protocol == "udp" {
				d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
			}
		}
		c, err := d.Dial(protocol, to)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		return echo(c)
	}) == nil
}

func echo(c net.Conn) error {
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}
