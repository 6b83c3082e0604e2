package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	procFileLimit = 16 << 20 // of one file below /proc: 100,000 sockets
	environLimit  = 1 << 20
	ancestorLimit = 64
)

// sshPrograms are the names, in /proc/PID/comm, of processes that hold SSH connections.
var sshPrograms = [...]string{"sshd", "sshd-session", "sshd-auth", "dropbear"}

// SSHSessions returns the SSH sessions to this host that are open now: those that this process or one above
// it was started from (SSH_CONNECTION in its environment), and every established connection that a server process
// holds or that came in at a port it listens on, as /proc shows them in the network namespace of the calling thread.
func (s System) SSHSessions(ctx context.Context) ([]schema.SSHSession, error) {
	out := ancestors(os.Getpid())
	var sockets []socket
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		f, err := os.Open(file)
		if os.IsNotExist(err) {
			continue // no IPv6 here
		}
		if err != nil {
			return nil, fmt.Errorf("find SSH sessions: %w", err)
		}
		more, err := parseSockets(io.LimitReader(f, procFileLimit))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("find SSH sessions: read %q: %w", file, err)
		}
		sockets = append(sockets, more...)
	}
	held, err := socketsOf(ctx, sshPrograms[:])
	if err != nil {
		return nil, fmt.Errorf("find SSH sessions: %w", err)
	}
	listens := map[uint16]bool{}
	for _, k := range sockets {
		if k.state == tcpListen && held[k.inode] {
			listens[k.local.Port()] = true
		}
	}
	for _, k := range sockets {
		if k.state == tcpEstablished && (held[k.inode] || listens[k.local.Port()]) {
			out = append(out, schema.SSHSession{Port: k.local.Port(), Peer: k.peer.Addr().Unmap()})
		}
	}
	return out, nil
}

// ancestors reads SSH_CONNECTION of a process and those above it. What cannot be read is left out: the
// list of sockets has it too, unless the connection ends in another network namespace.
func ancestors(pid int) []schema.SSHSession {
	var out []schema.SSHSession
	for range ancestorLimit {
		if pid <= 0 {
			break
		}
		if f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ"); err == nil {
			env, _ := io.ReadAll(io.LimitReader(f, environLimit))
			f.Close()
			for v := range bytes.SplitSeq(env, []byte{0}) {
				if rest, ok := bytes.CutPrefix(v, []byte("SSH_CONNECTION=")); ok {
					if k, ok := parseSSHConnection(string(rest)); ok {
						out = append(out, k)
					}
				}
			}
		}
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			break
		}
		// The name is in brackets and may hold anything; the parent is the second field after the last of them.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 {
			break
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			break
		}
	}
	return out
}

// parseSSHConnection reads "peer port, own address, own port", as sshd(8) sets it.
func parseSSHConnection(v string) (schema.SSHSession, bool) {
	f := strings.Fields(v)
	if len(f) != 4 {
		return schema.SSHSession{}, false
	}
	port, err := strconv.ParseUint(f[3], 10, 16)
	if err != nil || port == 0 {
		return schema.SSHSession{}, false
	}
	peer, err := netip.ParseAddr(f[0])
	if err != nil {
		peer = netip.Addr{} // "UNKNOWN"
	}
	return schema.SSHSession{Port: uint16(port), Peer: peer.Unmap()}, true
}

const (
	tcpEstablished = 0x01
	tcpListen      = 0x0a
)

// socket is a line of /proc/net/tcp or tcp6.
type socket struct {
	local, peer netip.AddrPort
	state       byte
	inode       uint64
}

// parseSockets reads /proc/net/tcp or tcp6 (proc_pid_net(5)). Lines that are not understood are left out.
func parseSockets(r io.Reader) ([]socket, error) {
	var out []socket
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		local, okL := parseEndpoint(f[1])
		peer, okP := parseEndpoint(f[2])
		state, errS := strconv.ParseUint(f[3], 16, 8)
		inode, errI := strconv.ParseUint(f[9], 10, 64)
		if okL && okP && errS == nil && errI == nil {
			out = append(out, socket{local, peer, byte(state), inode})
		}
	}
	return out, lines.Err()
}

// parseEndpoint reads "0100007F:0016": 32-bit words in the machine's byte order.
func parseEndpoint(v string) (netip.AddrPort, bool) {
	a, p, ok := strings.Cut(v, ":")
	raw, err := hex.DecodeString(a)
	port, errP := strconv.ParseUint(p, 16, 16)
	if !ok || err != nil || errP != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(port)), true
}

// socketsOf returns the inodes of the sockets that processes of these names hold. Processes that end
// meanwhile, or that may not be looked into, are left out.
func socketsOf(ctx context.Context, names []string) (map[uint64]bool, error) {
	out := map[uint64]bool{}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	entries, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := strconv.Atoi(e); err != nil {
			continue
		}
		comm, err := os.ReadFile("/proc/" + e + "/comm")
		if err != nil || !slices.Contains(names, strings.TrimSpace(string(comm))) {
			continue
		}
		dir, err := os.Open("/proc/" + e + "/fd")
		if err != nil {
			continue
		}
		fds, _ := dir.Readdirnames(-1)
		dir.Close()
		for _, fd := range fds {
			link, err := os.Readlink("/proc/" + e + "/fd/" + fd)
			if err != nil {
				continue
			}
			if n, ok := strings.CutPrefix(link, "socket:["); ok {
				if inode, err := strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 64); err == nil {
					out[inode] = true
				}
			}
		}
	}
	return out, nil
}
