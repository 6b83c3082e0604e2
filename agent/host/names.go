package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxAccounts bounds how much of passwd and group is read, in bytes.
const maxAccounts = 16 << 20

// account is a line of passwd(5).
type account struct {
	name        string
	uid, gid    uint32
	home, shell string
}

// group is a line of group(5).
type group struct {
	name    string
	gid     uint32
	members []string
}

// parsePasswd reads passwd(5). Lines that are not an account, NIS lines among them, are passed over, as
// the C library does.
func parsePasswd(b []byte) []account {
	var out []account
	for line := range strings.Lines(string(b)) {
		var f [7]string
		if !fieldsOf(line, f[:]) {
			continue
		}
		uid, errU := strconv.ParseUint(f[2], 10, 32)
		gid, errG := strconv.ParseUint(f[3], 10, 32)
		if errU != nil || errG != nil {
			continue
		}
		out = append(out, account{f[0], uint32(uid), uint32(gid), f[5], f[6]})
	}
	return out
}

// parseGroup reads group(5) by the same rules.
func parseGroup(b []byte) []group {
	var out []group
	for line := range strings.Lines(string(b)) {
		var f [4]string
		if !fieldsOf(line, f[:]) {
			continue
		}
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		g := group{name: f[0], gid: uint32(gid)}
		for m := range strings.SplitSeq(f[3], ",") {
			if m != "" {
				g.members = append(g.members, m)
			}
		}
		out = append(out, g)
	}
	return out
}

// fieldsOf takes a line of passwd or group apart; false is for one that is neither an account nor a group.
func fieldsOf(line string, f []string) bool {
	line = strings.TrimRight(line, "\n")
	if line == "" || strings.IndexByte("+-#:", line[0]) >= 0 || strings.Count(line, ":") != len(f)-1 {
		return false
	}
	for i := range f {
		f[i], line, _ = strings.Cut(line, ":")
	}
	return true
}

// readBounded reads a regular file of at most max bytes.
func readBounded(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		return nil, fmt.Errorf("read %q: over %d bytes", path, max)
	}
	return b, err
}

// names translates owners and groups, reading the host's files when it first has to. It is safe for concurrent use.
type names struct {
	root   string
	once   sync.Once
	users  map[string]uint32
	groups map[string]uint32
	userOf map[uint32]string
	nameOf map[uint32]string // of groups
	err    error
}

func (n *names) load() error {
	n.once.Do(func() { n.err = n.read() })
	return n.err
}

func (n *names) read() error {
	passwd, err := readBounded(n.root+"/etc/passwd", maxAccounts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	groups, err := readBounded(n.root+"/etc/group", maxAccounts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n.users, n.userOf = map[string]uint32{}, map[uint32]string{}
	n.groups, n.nameOf = map[string]uint32{}, map[uint32]string{}
	// The first line of a name or number counts, as for the C library.
	for _, a := range parsePasswd(passwd) {
		first(n.users, a.name, a.uid)
		first(n.userOf, a.uid, a.name)
	}
	for _, g := range parseGroup(groups) {
		first(n.groups, g.name, g.gid)
		first(n.nameOf, g.gid, g.name)
	}
	return nil
}

func first[K comparable, V any](m map[K]V, k K, v V) {
	if _, ok := m[k]; !ok {
		m[k] = v
	}
}

// owner gives the numbers that a file wants; 0 where it wants none.
func (n *names) owner(f *schema.File) (uid, gid uint32, err error) {
	if f.State == schema.Absent {
		return 0, 0, nil
	}
	if uid, err = n.number("user", f.Owner); err != nil {
		return 0, 0, err
	}
	gid, err = n.number("group", f.Group)
	return uid, gid, err
}

// number translates a name, or a number written as one.
func (n *names) number(what, name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	// 2^32-1 means "leave it" to chown(2).
	if '0' <= name[0] && name[0] <= '9' {
		if v, err := strconv.ParseUint(name, 10, 32); err == nil && v < 1<<32-1 {
			return uint32(v), nil
		}
	}
	if err := n.load(); err != nil {
		return 0, err
	}
	m := n.users
	if what == "group" {
		m = n.groups
	}
	v, ok := m[name]
	if !ok {
		return 0, fmt.Errorf("%s %q does not exist on this host (only /etc/passwd and /etc/group are asked; others can be given as numbers)", what, name)
	}
	return v, nil
}

// user names the owner of a file in the form of what is wanted: want itself where it is that one,
// a number where want is a number. Where nothing is wanted nothing is said.
func (n *names) user(want string, wantID, id uint32) string {
	return n.name(want, wantID, id, func() map[uint32]string { return n.userOf })
}

func (n *names) group(want string, wantID, id uint32) string {
	return n.name(want, wantID, id, func() map[uint32]string { return n.nameOf })
}

func (n *names) name(want string, wantID, id uint32, of func() map[uint32]string) string {
	if want == "" {
		return ""
	}
	if wantID == id {
		return want
	}
	number := strconv.FormatUint(uint64(id), 10)
	if _, err := strconv.ParseUint(want, 10, 32); err == nil || n.load() != nil {
		return number
	}
	if name, ok := of()[id]; ok {
		return name
	}
	return number
}
