package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Simulated is a folder that plays a host: files below "files", everything else in one JSON file a
// subject. It needs no root and runs on every operating system. It is for one program at a time.
//
// Owners and modes of its files are only remembered, in "attributes.json".
type Simulated struct {
	Dir string
}

// loadState reads a JSON file of the host into v; a missing file leaves v as it is.
func (s Simulated) loadState(name string, v any) error {
	b, err := readBounded(filepath.Join(s.Dir, name), 64<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	return nil
}

// saveState replaces a JSON file of the host as a whole.
func (s Simulated) saveState(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	temp := filepath.Join(s.Dir, name+".new")
	if err := os.WriteFile(temp, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(s.Dir, name))
}

// simulatedAttributes are mode and owners of a file.
type simulatedAttributes struct {
	Mode  string `json:"mode"`
	Owner string `json:"owner"`
	Group string `json:"group"`
}

const attributesFile = "attributes.json"

// look reports what is at a path of the simulated host; the real one's rules about links hold.
func (s Simulated) look(name string) (real string, info fs.FileInfo, err error) {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsAny(name, "\x00\\:") {
		return "", nil, errors.New("not a clean absolute path of a file")
	}
	at := s.Root()
	parts := strings.Split(name[1:], "/")
	for i, part := range parts {
		at = filepath.Join(at, part)
		info, err = os.Lstat(at)
		last := i == len(parts)-1
		here := "/" + strings.Join(parts[:i+1], "/")
		switch {
		case last && errors.Is(err, fs.ErrNotExist):
			return at, nil, nil
		case errors.Is(err, fs.ErrNotExist):
			return "", nil, noParentError(here)
		case err != nil:
			return "", nil, err
		case last && !info.Mode().IsRegular():
			return "", nil, fmt.Errorf("is not a regular file (%s)", info.Mode().Type())
		case !last && !info.IsDir():
			return "", nil, fmt.Errorf("parent %q is not a folder", here)
		}
	}
	return at, info, nil
}

// LookFiles reports what is at each path, as System.LookFiles does.
func (s Simulated) LookFiles(ctx context.Context, rs []schema.Resource, found func(i int, got schema.File, blob schema.Blob, err error)) {
	attributes := map[string]simulatedAttributes{}
	loadErr := s.loadState(attributesFile, &attributes)
	for i, r := range rs {
		got, blob := schema.File{State: schema.Absent}, schema.Blob{}
		err := errors.Join(ctx.Err(), loadErr, s.owners(*r.File))
		var real string
		var info fs.FileInfo
		if err == nil {
			real, info, err = s.look(r.Key)
		}
		if err == nil && info != nil {
			a := attributesOr(attributes, r.Key)
			got = schema.File{State: schema.Present, Mode: a.Mode, Owner: a.Owner, Group: a.Group}
			blob.Size = info.Size()
			content := r.File.Content
			if content != nil && int64(len(*content)) == blob.Size || content == nil && r.Blob != nil && r.Blob.Size == blob.Size {
				var b []byte
				if b, err = readBounded(real, blob.Size); err == nil && content != nil && string(b) == *content {
					got.Content = content
				} else if err == nil {
					sum := sha256.Sum256(b)
					blob.SHA256 = hex.EncodeToString(sum[:])
				}
			}
		}
		found(i, got, blob, err)
	}
}

func attributesOr(m map[string]simulatedAttributes, name string) simulatedAttributes {
	if a, ok := m[name]; ok {
		return a
	}
	return simulatedAttributes{"0644", "root", "root"}
}

// owners refuses accounts that the host does not have.
func (s Simulated) owners(f schema.File) error {
	if f.State == schema.Absent || (f.Owner == "" || f.Owner == "root") && (f.Group == "" || f.Group == "root") {
		return nil
	}
	users, groups, err := s.Accounts()
	if err != nil {
		return err
	}
	if _, ok := users[f.Owner]; !ok && f.Owner != "" && f.Owner != "root" {
		return fmt.Errorf("user %q does not exist on this host", f.Owner)
	}
	if f.Group != "" && f.Group != "root" && !groups[f.Group] {
		return fmt.Errorf("group %q does not exist on this host", f.Group)
	}
	return nil
}

// WriteFile puts content at the path, as System.WriteFile does.
func (s Simulated) WriteFile(ctx context.Context, name string, want schema.File, content []byte) error {
	if err := errors.Join(ctx.Err(), s.owners(want)); err != nil {
		return err
	}
	real, _, err := s.look(name)
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(real), tempName)
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return err
	}
	if err := os.Rename(temp, real); err != nil {
		return err
	}
	return s.setAttributes(name, want)
}

const tempName = ".dunlin-0000000000000000"

func (s Simulated) setAttributes(name string, want schema.File) error {
	attributes := map[string]simulatedAttributes{}
	if err := s.loadState(attributesFile, &attributes); err != nil {
		return err
	}
	a := attributesOr(attributes, name)
	for _, f := range []struct {
		to   *string
		want string
	}{{&a.Mode, want.Mode}, {&a.Owner, want.Owner}, {&a.Group, want.Group}} {
		if f.want != "" {
			*f.to = f.want
		}
	}
	attributes[name] = a
	return s.saveState(attributesFile, attributes)
}

// ChangeFile remembers the mode and owners that want names.
func (s Simulated) ChangeFile(ctx context.Context, name string, want schema.File) error {
	if err := errors.Join(ctx.Err(), s.owners(want)); err != nil {
		return err
	}
	_, info, err := s.look(name)
	if err != nil {
		return err
	}
	if info == nil {
		return fs.ErrNotExist
	}
	return s.setAttributes(name, want)
}

// RemoveFile removes a regular file. Nothing there is no error.
func (s Simulated) RemoveFile(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	real, info, err := s.look(name)
	if err != nil || info == nil {
		return err
	}
	if err := os.Remove(real); err != nil {
		return err
	}
	attributes := map[string]simulatedAttributes{}
	if err := s.loadState(attributesFile, &attributes); err != nil {
		return err
	}
	delete(attributes, name)
	return s.saveState(attributesFile, attributes)
}

// simulatedSysctls is "sysctls.json".
type simulatedSysctls struct {
	Kernel map[string]string `json:"kernel"` // the parameters there are
	Boot   map[string]string `json:"boot"`   // our lines in sysctl.d
}

const sysctlsFile = "sysctls.json"

func (s Simulated) sysctls() (simulatedSysctls, error) {
	v := simulatedSysctls{Kernel: map[string]string{}, Boot: map[string]string{}}
	err := s.loadState(sysctlsFile, &v)
	return v, err
}

// ReadSysctl gives a value. The error wraps fs.ErrNotExist for a key that the host does not have.
func (s Simulated) ReadSysctl(key string) (string, error) {
	all, err := s.sysctls()
	if err != nil {
		return "", err
	}
	v, ok := all.Kernel[key]
	if !ok {
		return "", fmt.Errorf("kernel parameter %q: %w", key, fs.ErrNotExist)
	}
	return v, nil
}

// WriteSysctl sets a value of a key that the host has.
func (s Simulated) WriteSysctl(key, value string) error {
	all, err := s.sysctls()
	if err != nil {
		return err
	}
	if _, ok := all.Kernel[key]; !ok {
		return fmt.Errorf("kernel parameter %q: %w", key, fs.ErrNotExist)
	}
	all.Kernel[key] = value
	return s.saveState(sysctlsFile, all)
}

// BootSysctls gives what is set at boot by us.
func (s Simulated) BootSysctls() (map[string]string, error) {
	all, err := s.sysctls()
	return all.Boot, err
}

// SetBootSysctls replaces what is set at boot by us.
func (s Simulated) SetBootSysctls(lines map[string]string) error {
	all, err := s.sysctls()
	if err != nil {
		return err
	}
	all.Boot = lines
	return s.saveState(sysctlsFile, all)
}

// SetSysctls replaces the kernel parameters of the host.
func (s Simulated) SetSysctls(kernel map[string]string) error {
	return s.saveState(sysctlsFile, simulatedSysctls{Kernel: kernel, Boot: map[string]string{}})
}

// simulatedUsers is "users.json".
type simulatedUsers struct {
	Users  map[string]schema.User `json:"users"`
	Groups []string               `json:"groups"`
}

const usersFile = "users.json"

func (s Simulated) users() (simulatedUsers, error) {
	v := simulatedUsers{Users: map[string]schema.User{}}
	err := s.loadState(usersFile, &v)
	return v, err
}

// Accounts gives the accounts of the host, and the names of its groups.
func (s Simulated) Accounts() (map[string]schema.User, map[string]bool, error) {
	all, err := s.users()
	if err != nil {
		return nil, nil, err
	}
	groups := map[string]bool{}
	for _, g := range all.Groups {
		groups[g] = true
	}
	return all.Users, groups, nil
}

// CreateUser makes an account with the next free number from 1000.
func (s Simulated) CreateUser(ctx context.Context, name string, want schema.User) error {
	return s.changeUsers(ctx, func(users map[string]schema.User) error {
		if _, there := users[name]; there {
			return fmt.Errorf("user %q exists already", name)
		}
		if want.UID == nil {
			next := uint32(1000)
			for _, u := range users {
				if u.UID != nil && *u.UID >= next && *u.UID < 60000 {
					next = *u.UID + 1
				}
			}
			want.UID = &next
		}
		if want.Shell == "" {
			want.Shell = "/bin/sh"
		}
		if want.Home == "" {
			want.Home = "/home/" + name
		}
		want.Groups = slices.Sorted(slices.Values(want.Groups))
		users[name] = want
		return nil
	})
}

// ChangeUser sets the fields that want has, and adds the account to the groups that want names.
func (s Simulated) ChangeUser(ctx context.Context, name string, want schema.User) error {
	return s.changeUsers(ctx, func(users map[string]schema.User) error {
		u, there := users[name]
		if !there {
			return fmt.Errorf("user %q does not exist", name)
		}
		if want.UID != nil {
			u.UID = want.UID
		}
		if want.Shell != "" {
			u.Shell = want.Shell
		}
		if want.Home != "" {
			u.Home = want.Home
		}
		u.Groups = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(u.Groups), want.Groups...))))
		users[name] = u
		return nil
	})
}

// DeleteUser removes an account.
func (s Simulated) DeleteUser(ctx context.Context, name string) error {
	return s.changeUsers(ctx, func(users map[string]schema.User) error {
		delete(users, name)
		return nil
	})
}

func (s Simulated) changeUsers(ctx context.Context, change func(map[string]schema.User) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	all, err := s.users()
	if err != nil {
		return err
	}
	all.Users = maps.Clone(all.Users)
	if err := change(all.Users); err != nil {
		return err
	}
	return s.saveState(usersFile, all)
}
