package host

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestParseSSHConnection(t *testing.T) {
	for v, want := range map[string]string{
		"10.0.0.9 50000 10.0.0.1 22":         "22 10.0.0.9",
		"fe80::1%eth0 50000 fe80::2 2222":    "2222 fe80::1%eth0",
		"::ffff:10.0.0.9 5 ::ffff:1.2.3.4 9": "9 10.0.0.9",
		"UNKNOWN 65535 UNKNOWN 22":           "22 invalid IP",
		"10.0.0.9 50000 10.0.0.1 0":          "",
		"10.0.0.9 50000 10.0.0.1 70000":      "",
		"22":                                 "", "": "",
	} {
		got := ""
		if k, ok := parseSSHConnection(v); ok {
			got = portAndPeer(k)
		}
		if got != want {
			t.Errorf("parseSSHConnection(%q) = %q, want %q", v, got, want)
		}
	}
}

func portAndPeer(k schema.SSHSession) string {
	return strings.Join([]string{schema.PortRange{First: k.Port, Last: k.Port}.String(), k.Peer.String()}, " ")
}

func TestParseSockets(t *testing.T) {
	const text = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0016 0200007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:C350 01 0:0 0:0 0 0 0 4713 1
garbage
   3: ZZ:0016 00000000:0000 0A 0:0 0:0 0 0 0 1
`
	got, err := parseSockets(strings.NewReader(text))
	if err != nil || len(got) != 3 {
		t.Fatalf("parseSockets = %+v, %v", got, err)
	}
	if k := got[1]; k.local.String() != "127.0.0.1:22" || k.peer.String() != "127.0.0.2:50000" || k.state != tcpEstablished || k.inode != 4712 {
		t.Errorf("second = %+v", k)
	}
	if got[0].state != tcpListen || got[2].local.String() != "[2001:db8::1]:22" {
		t.Errorf("first and third = %+v, %+v", got[0], got[2])
	}
}

// The server is a program called sshd that holds what came in; no real one is needed.
func TestSSHSessionsAreFoundBySocketAndByEnvironment(t *testing.T) {
	w := newNetns(t)
	err := w.in(t, func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		c, err := l.Accept()
		if err != nil {
			return err
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		defer f.Close()
		c.Close()
		want := uint16(l.Addr().(*net.TCPAddr).Port)
		find := func() (found bool) {
			ks, err := System{}.SSHSessions(t.Context())
			if err != nil {
				t.Error(err)
			}
			for _, k := range ks {
				found = found || k.Port == want && k.Peer.String() == "127.0.0.1"
			}
			return found
		}
		if find() {
			t.Error("a connection of another program is taken for SSH")
		}
		fake := filepath.Join(t.TempDir(), "sshd")
		sleep, err := exec.LookPath("sleep")
		if err != nil {
			return err
		}
		b, err := os.ReadFile(sleep)
		if err != nil {
			return err
		}
		if err := os.WriteFile(fake, b, 0o755); err != nil {
			return err
		}
		cmd := exec.Command(fake, "1000")
		cmd.ExtraFiles = []*os.File{f}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		if !find() {
			t.Errorf("the session at port %d is not found", want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "echo up; read x; exit 0") // sh is above nobody: its own environment counts
	cmd.Env = []string{"SSH_CONNECTION=192.0.2.7 50000 192.0.2.1 2222"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	up, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if _, err := io.ReadFull(up, make([]byte, 3)); err != nil { // the kernel shows the environment a little after exec
		t.Fatal(err)
	}
	if got := ancestors(cmd.Process.Pid); len(got) == 0 || portAndPeer(got[0]) != "2222 192.0.2.7" {
		t.Errorf("ancestors = %+v", got)
	}
}
